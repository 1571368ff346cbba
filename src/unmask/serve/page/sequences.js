// Sequences: text, residues, or a file of any other kind.
import {element, Reveal, shade} from "./reveal.js";

const SPACE = "\u00a0";

// end: what stays behind a mark that is put at the end, as backslashes before it and stops do
const MARKS = {
  text: {hole: n => n === 1 ? "[MASK]" : `[MASK:${n}]`, one: "[MASK]", letters: /\[MASK(:\d+)?\]/g,
         end: /\\*$/},
  residues: {hole: n => "-".repeat(n), one: "-", letters: /(?!)/g, end: /(\*[*\s]*)?$/},
};
// of a FASTA file: comments before a first record; these and the header of one that has one
const COMMENTS = /^(?:[ \t]*(?:;.*)?\n)*/;
const HEADER = /^(?:[ \t]*(?:;.*)?\n)*(?:\s*>.*\n)?/;

// The file that cells say, where each cell begins in it, and whether a backslash escapes a hole.
function compose(cells, marks) {
  let content = "", escaped = false;
  const starts = [];
  for (let k = 0; k < cells.length;) {
    const {hole} = cells[k], run = [];
    while (k < cells.length && cells[k].hole === hole) run.push(cells[k++]);
    if (hole) {
      escaped ||= content.endsWith("\\");
      starts.push(...run.map(() => content.length));
      content += marks.hole(run.reduce((sum, cell) => sum + cell.size, 0));
      continue;
    }
    // what looks like a mark and is given has a backslash before it
    const text = run.map(cell => cell.text).join("");
    const marked = [...text.matchAll(marks.letters)].map(match => match.index);
    let at = 0;
    for (const cell of run) {
      starts.push(content.length + at + marked.filter(i => i < at).length);
      at += cell.text.length;
    }
    content += text.replace(marks.letters, "\\$&");
  }
  return {content, starts, escaped};
}

// Cells of which those `taken` are masked, too.  A blank that is no token is masked between two
// others alone: at the edge of a hole it would be lost.
function masked(cells, taken) {
  const among = new Set(taken);
  const hole = k => cells[k]?.size > 0 && (cells[k].hole || among.has(k));
  return cells.map((cell, k) => among.has(k) && (hole(k) || hole(k - 1) && hole(k + 1)) ?
    {...cell, hole: true} : cell);
}

// The numbers of the cells that a click on cell k takes: a word, or that cell alone.
function word(cells, k, by) {
  const part = i => i >= 0 && i < cells.length && /\S/.test(cells[i].text);
  if (by === "cell" || !part(k)) return [k];
  const joined = i => part(i) && !/^\s/.test(cells[i].text);
  let first = k, last = k;
  while (joined(first) && part(first - 1) && !/\s$/.test(cells[first - 1].text)) first--;
  while (part(last + 1) && joined(last + 1) && !/\s$/.test(cells[last].text)) last++;
  return Array.from({length: last - first + 1}, (_, i) => first + i);
}

// A row of cells that a pointer, or arrow keys and Enter, choose.
class Board {
  constructor(label, by, choose, hover) {
    this.by = by;
    this.choose = choose;
    this.cells = [];
    this.at = -1;
    this.node = element("div", {
      className: `board ${by === "word" ? "words" : ""}`, tabIndex: 0,
      attributes: {role: "group", "aria-label": label},
    });
    this.node.addEventListener("click", event => {
      const k = this.number(event.target);
      if (k >= 0) this.choose(word(this.cells, k, event.altKey ? "cell" : this.by));
    });
    this.node.addEventListener("pointerover", event => {
      const k = this.number(event.target);
      hover(k >= 0 ? this.cells[k] : null, event.target);
    });
    this.node.addEventListener("pointerleave", () => hover(null));
    this.node.addEventListener("blur", () => this.mark(-1));
    this.node.addEventListener("keydown", event => {
      const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (by) {
        event.preventDefault();
        this.move(by);
        if (this.at >= 0) hover(this.cells[this.at], this.node.children[this.at]);
      } else if (["Enter", " "].includes(event.key) && this.at >= 0) {
        if (event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        this.choose(word(this.cells, this.at, this.by));
      }
    });
  }

  number(target) {
    return target.dataset.k === undefined ? -1 : +target.dataset.k;
  }

  move(by) {
    const taken = this.at < 0 ? [] : word(this.cells, this.at, this.by);
    let next = this.at < 0 ? 0 : by < 0 ? taken[0] - 1 : taken[taken.length - 1] + 1;
    while (this.by === "word" && this.cells[next] && !/\S/.test(this.cells[next].text) &&
           !this.cells[next].hole) next += by;
    if (!this.cells[next]) return;
    this.mark(next);
  }

  mark(k) {
    this.at = k;
    const taken = k < 0 ? [] : word(this.cells, k, this.by);
    [...this.node.children].forEach((span, i) => {
      span.classList.toggle("cursor", taken.includes(i));
    });
  }

  // cells: {text, size, hole, kind: classes}
  draw(cells) {
    while (this.node.children.length > cells.length) this.node.lastChild.remove();
    while (this.node.children.length < cells.length) {
      this.node.append(element("span", {dataset: {k: this.node.children.length}}));
    }
    cells.forEach((cell, k) => {
      const span = this.node.children[k];
      const text = cell.hole ? SPACE.repeat(cell.size) : cell.text;
      if (span.textContent !== text) span.textContent = text;
      const kind = `cell ${cell.kind}${k === this.at ? " cursor" : ""}`;
      if (span.className !== kind) span.className = kind;
    });
    this.cells = cells;
  }
}

// Text, residues, or a file of any other kind.
export class Sequence {
  constructor(page) {
    this.page = page;
    const {model} = page;
    this.marks = MARKS[model.editor];
    this.by = model.editor === "text" ? "word" : "cell";
    this.examples = [];  // cells of each
    const label = model.editor === "text" ? "Text" :
      model.editor === "residues" ? "Residues, one letter each" : "A file with holes";
    this.area = element("textarea", {id: "content", spellcheck: false, rows: 4});
    const mask = element("button", {id: "mask", type: "button", textContent: "Mask selection"});
    const all = element("button", {id: "mask-all", type: "button", textContent: "Mask all"});
    const reads = element("div", {id: "reads"});
    this.boards = reads;
    this.shown = [];
    const help = this.marks ? element("p", {className: "help", textContent:
      "Select " + (this.by === "word" ? "words" : "letters") + " and mask them (Alt+M), or click " +
      "below. Grey is masked, and will be filled in; point at it for what is likely there."
    }) : element("p", {className: "help", textContent:
      `The file that unmask fill takes: ${model.what}.`});
    page.root.append(
      element("label", {htmlFor: "content", textContent: label}), this.area,
      this.marks ? element("div", {className: "row"}, mask, all) : "", help, reads,
    );
    this.area.addEventListener("input", () => this.changed());
    this.area.addEventListener("keydown", event => {
      if (event.altKey && event.code === "KeyM") {
        event.preventDefault();
        this.mask();
      }
    });
    mask.addEventListener("click", () => this.mask());
    all.addEventListener("click", () => this.maskAll());
  }

  set(edit) {
    this.area.value = edit.content;
    this.content = null;
    return this.read();
  }

  edit() {
    return {content: this.area.value};
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.read(), 250);
  }

  // Have the file read, and show how; one without a hole is read with one at its end.
  async read() {
    clearTimeout(this.timer);
    const content = this.area.value;
    if (content !== this.content) this.content = null;
    if (!content) return this.boards.replaceChildren();
    let board = await this.page.open({content}, Boolean(this.marks));
    const added = !board && this.marks;
    if (added) {
      const holed = content.replace(this.marks.end, end => this.marks.one + end);
      board = await this.page.open({content: holed});
    }
    if (!board || content !== this.area.value) return;
    const given = cells => added ? cells.filter(([_text, _size, hole]) => !hole) : cells;
    const examples = board.examples.map(cells => asCells(given(cells)));
    this.examples = examples;
    this.content = content;
    while (this.shown.length < examples.length) {
      const example = this.shown.length;
      this.shown.push(new Board("How the model sees it", this.by,
        taken => this.toggle(example, taken),
        (cell, target) => this.page.odds(this.edit(), example, cell, target)));
    }
    const boards = this.shown.slice(0, examples.length);
    boards.forEach((board, example) => board.draw(examples[example]));
    const nodes = boards.map(board => board.node);
    // what has the focus stays where it is
    if (nodes.some((node, i) => node !== this.boards.children[i]) ||
        nodes.length !== this.boards.children.length) this.boards.replaceChildren(...nodes);
  }

  // Mask what is selected, as whole tokens.
  async mask() {
    const {selectionStart: from, selectionEnd: to, value} = this.area;
    if (from === to) return this.page.say("Select what is to be masked first.");
    if (this.marks === MARKS.residues) {
      // headers, comments and [MASK:20] stay
      const hidden = value.replace(/^[ \t]*[>;].+|\[MASK(?::\d+)?\]|[A-Z]/gim, (found, at) =>
        found.length > 1 || at < from || at >= to ? found : "-");
      this.area.setRangeText(hidden.slice(from, to), from, to, "select");
      return this.read();
    }
    if (this.content !== value) await this.read();
    if (this.content !== value) return;  // and what is wrong with it has been said
    const [cells] = this.examples;
    const {content, starts} = compose(cells, this.marks);
    if (content !== value) {  // as of [MASK][MASK], which is [MASK:2]
      await this.adopt([cells]);
      return this.page.say("Marks were written anew: select again.");
    }
    const taken = cells.map((_, k) => k).filter(k => {
      const end = k + 1 < starts.length ? starts[k + 1] : content.length;
      return !cells[k].hole && starts[k] < to && end > from;
    });
    this.area.focus();
    await this.toggle(0, taken);
  }

  async toggle(example, taken) {
    if (!this.marks || !taken.length) return;
    // what was clicked is not there any more
    if (this.content !== this.area.value) return this.read();
    await this.adopt(this.examples.map((cells, i) => i === example ? masked(cells, taken) : cells));
  }

  async maskAll() {
    if (this.content !== this.area.value) await this.read();
    if (this.content === null) return;
    await this.adopt(this.examples.map(cells => masked(cells, cells.keys())));
  }

  // Go on from these cells of each example of a file, at once; how they are read then, which is
  // promised, may tell other sizes of holes.  Where they cannot be written: say so, and promise
  // nothing.
  adopt(examples, file = this.area.value) {
    if (examples.length > 1) {
      this.page.say("Here are several sequences: mask in the text above.");
      return null;
    }
    const [cells] = examples, {content, escaped} = compose(cells, this.marks);
    if (escaped) {
      this.page.say("A backslash before a hole is read as part of it: mask it, too.");
      return null;
    }
    if (content.includes("\r")) {
      this.page.say("This text has carriage returns, which a page cannot keep: use unmask fill.");
      return null;
    }
    const header = this.marks === MARKS.residues ? file.match(HEADER)[0] : "";
    this.content = this.area.value = header + content;
    const one = {text: "", size: 1, hole: true};
    const split = cells.flatMap(cell => cell.hole ? Array(cell.size).fill(one) : [cell]);
    this.examples = [asCells(split.map(({text, size, hole}) => [text, size, hole]))];
    this.shown[0]?.draw(this.examples[0]);
    return this.read();
  }

  view(run, copy) {
    return new SequenceView(this, run, copy);
  }

  file(run, copies) {
    const texts = copies.map(view => view.texts());
    if (this.marks === MARKS.residues) {
      const said = (run.edit?.content ?? "").replace(COMMENTS, "");
      // letters before the first header are a record without one
      const headers = [...(/^\s*>/.test(said) ? said : `>\n${said}`).matchAll(/^\s*>(.*)/gm)];
      const name = example => headers[example]?.[1].trim() ? `${headers[example][1].trim()} ` : "";
      return ["filled.fasta", texts.flatMap((of, i) => of.map((text, example) =>
        `>${name(example)}filling-${i + 1}\n${text}\n`)).join("")];
    }
    const whole = texts.map(of => of.join("\n"));
    return ["filled.txt", whole.length === 1 ? whole[0] :
      whole.map((text, i) => `--- ${i + 1}\n${text}\n`).join("")];
  }
}

function asCells(cells) {
  return cells.map(([text, size, hole]) =>
    ({text, size, hole, kind: hole ? "hole" : "given"})
  ).map(numbered());
}

// Each cell with its first position.
function numbered() {
  let position = 0;
  return cell => {
    const made = {...cell, position};
    position += cell.size;
    return made;
  };
}

class SequenceView {
  constructor(editor, run, copy) {
    this.editor = editor;
    this.run = run;
    this.reveal = new Reveal(run, copy);
    const examples = run.board ? run.board.examples :
      [Array.from({length: run.length}, () => ["", 1, true])];
    this.examples = examples.map(cells => asCells(cells));
    this.free = new Map();  // position -> whether it is drawn again, of the first example
    this.boards = this.examples.map((_, example) => new Board(
      `Filling ${copy + 1}`, editor.by, taken => this.toggle(example, taken),
      (cell, target) => editor.page.odds(run.edit, example, cell, target),
    ));
    this.keep = element("button", {
      type: "button", className: "small",
      textContent: editor.by === "word" ? "Use this text" : "Use this sequence",
    });
    this.keep.addEventListener("click", () => this.adopt(() => false));
    this.node = element("div", {}, ...this.boards.map(board => board.node));
    if (editor.marks) this.node.append(this.keep);
  }

  show(frame) {
    this.reveal.go(frame);
    this.boards.forEach((board, example) => board.draw(this.cells(example)));
    this.keep.disabled = !this.reveal.whole;
  }

  cells(example) {
    const shown = this.reveal.of(example);
    const made = this.examples[example].map(cell => {
      if (!cell.hole) return {...cell, was: false};
      const now = shown.get(cell.position);
      if (!now) return {...cell, was: true};
      return {...cell, text: now.text, hole: false, was: true, sure: now.sure};
    });
    for (const [position, size, text] of this.reveal.final(example)) respell(made, position, size, text);
    for (const cell of made) cell.kind = this.kind(example, cell);
    return made;
  }

  kind(example, cell) {
    if (cell.hole) return "hole";
    const again = this.again(cell);
    if (!cell.was) return again ? "given again" : "given";
    const fresh = this.reveal.fresh.has(`${example},${cell.position}`) && !this.reveal.whole;
    return `filled ${shade(cell.sure)}${fresh ? " new" : ""}${again ? "" : " pinned"}`;
  }

  // Whether a cell is drawn again by the next filling.
  again(cell) {
    // a blank that is no token is where the cell after it is
    return cell.size && this.free.has(cell.position) ? this.free.get(cell.position) : cell.was;
  }

  // Go on from this filling: hole(cell) says what is to be filled in.
  adopt(hole) {
    const examples = this.examples.map((_, example) =>
      this.cells(example).map(cell => ({...cell, hole: hole(cell)})));
    return this.editor.adopt(examples, this.run.edit?.content ?? "");
  }

  // Pin what was filled in, or mask what is there, and go on from that.
  toggle(example, taken) {
    if (!this.reveal.whole || !this.editor.marks) return;
    const cells = this.cells(example);
    const some = taken.map(k => cells[k]).filter(cell => cell.size);
    if (!some.length) return;
    const pin = some.some(cell => this.again(cell));
    if (pin && some.some(cell => cell.text.includes("\ufffd"))) {
      return this.editor.page.say("These bytes are no letter: they cannot be kept.");
    }
    const before = new Map(this.free);
    for (const cell of some) this.free.set(cell.position, !pin);
    if (!this.adopt(cell => this.again(cell))) this.free = before;
    this.show(this.reveal.at);
  }

  // Of each example.
  texts() {
    return this.examples.map((_, example) =>
      this.cells(example).map(cell => cell.hole ? "" : cell.text).join(""));
  }
}

// The letters of a hole that is whole, where those of its tokens by themselves are others.
function respell(cells, position, size, text) {
  const first = cells.findIndex(cell => cell.was && cell.position === position);
  const within = [];
  for (let k = first, left = size; left > 0; k++) {
    within.push(k);
    left -= cells[k].size;
  }
  if (within.map(k => cells[k].text).join("") === text) return;
  const letters = Array.from(text), sizes = letters.map(c => new TextEncoder().encode(c).length);
  const sure = ks => Math.min(...ks.map(k => cells[k].sure ?? 1));
  const made = [];
  if (sizes.reduce((a, b) => a + b, 0) === size && within.length === size) {
    let at = 0;  // a letter for its bytes
    letters.forEach((letter, i) => {
      const ks = within.slice(at, at + sizes[i]);
      made.push({...cells[ks[0]], text: letter, size: sizes[i], sure: sure(ks)});
      at += sizes[i];
    });
  } else {
    made.push({...cells[first], text, size, sure: sure(within)});
  }
  cells.splice(first, within.length, ...made);
}
