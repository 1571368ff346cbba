# To be sourced by scripts that keep what they made.
#
#   asked FILE "NAME=VALUE ..." MADE    written to FILE as long as there is no MADE yet; other ones are refused later, so that no record is of
#                                       something else
asked() {
  mkdir -p "$(dirname "$1")"
  [ -e "$1" ] && [ -e "$3" ] || printf '%s\n' "$2" > "$1"
  if [ "$(cat "$1")" != "$2" ]; then
    echo "$(dirname "$1") was begun with $(cat "$1"), not $2: choose another OUT" >&2
    exit 2
  fi
}
