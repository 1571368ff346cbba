// Of a report, which is drawn as it ends: hides what is not known yet in an earlier state.  Text
// stays where it is, unseen, so that nothing moves.

class Picture {
  // box: holds an image, and in which state each of its values is known, two bytes a value.
  constructor(box) {
    this.image = box.querySelector("img");
    this.canvas = document.createElement("canvas");
    this.canvas.hidden = true;
    this.canvas.setAttribute("aria-hidden", "true");
    box.append(this.canvas);
    const bytes = Uint8Array.from(atob(box.dataset.known), char => char.charCodeAt(0));
    this.known = new Uint16Array(bytes.buffer);
  }

  show(state, last) {
    this.canvas.hidden = state === last;
    this.image.classList.toggle("under", state < last);
    if (state === last) return;
    const {naturalWidth: width, naturalHeight: height} = this.image;
    Object.assign(this.canvas, {width, height});
    const context = this.canvas.getContext("2d");
    context.drawImage(this.image, 0, 0);
    const pixels = context.getImageData(0, 0, width, height);
    const channels = this.known.length / (width * height);
    for (let i = 0; i < width * height; i++) {
      let hidden = 0;
      for (let c = 0; c < channels; c++) {
        if (this.known[channels * i + c] <= state) continue;
        hidden += 1;
        if (channels > 1) pixels.data[4 * i + c] = 127;  // of a colour that is known in part
      }
      if (hidden === channels) pixels.data[4 * i + 3] = 0;
    }
    context.putImageData(pixels, 0, 0);
  }
}

function played(root) {
  const steps = root.dataset.steps.split(" ").map(Number), last = steps.length - 1;
  const cells = [...root.querySelectorAll("[data-known]:not(.picture)")];
  const known = cells.map(cell => +cell.dataset.known);
  const pictures = [...root.querySelectorAll(".picture[data-known]")].map(box => new Picture(box));
  const player = new Player(root, state => {
    cells.forEach((cell, i) => {
      cell.classList.toggle("masked", known[i] > state);
      cell.classList.toggle("fresh", known[i] === state && state > 0 && state < last);
    });
    for (const picture of pictures) picture.show(state, last);
    return `step ${steps[state]} of ${steps[last]}`;
  });
  root.querySelector(".player").hidden = false;
  player.show(last);
  return player;
}

const players = [...document.querySelectorAll(".played")].map(played);
// arrow keys where nothing has the focus, which would scroll its box
document.addEventListener("keydown", event => {
  if (event.target === document.body && players.length) players[0].key(event);
});
