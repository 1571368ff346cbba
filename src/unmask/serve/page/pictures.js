// Pictures, over which one paints.
import {element, Reveal} from "./reveal.js";

const bytesOf = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const textOf = bytes => btoa(Array.from(bytes, b => String.fromCharCode(b)).join(""));

// Draw pixels (H*W*C); hidden(row, column, channel): whether that value is not there yet.
function paint(canvas, {height, width, channels}, pixels, hidden) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      const at = i * channels + (channels === 1 ? 0 : c);
      image.data[4 * i + c] = hidden(at) ? 127 : pixels[at];
    }
    const none = Array.from({length: channels}, (_, c) => hidden(i * channels + c));
    image.data[4 * i + 3] = none.every(Boolean) ? 0 : 255;
  }
  context.putImageData(image, 0, 0);
}

export class Pixels {
  apart = true;  // each filling is a file of its own

  constructor(page) {
    this.page = page;
    const {height, width} = page.model;
    this.canvas = element("canvas", {
      id: "picture", tabIndex: 0, attributes: {role: "application", "aria-label":
        "The picture: paint what is to be filled in; arrow keys move, space masks or shows a pixel"},
    });
    this.tool = element("select", {id: "tool"},
      element("option", {value: "1", textContent: "mask"}),
      element("option", {value: "0", textContent: "show again"}));
    this.brush = element("input", {
      id: "brush", type: "number", min: 1, max: Math.max(height, width),
      value: Math.max(1, Math.round(Math.min(height, width) / 8)),
    });
    const all = element("button", {id: "mask-all", type: "button", textContent: "Mask all"});
    const lower = element("button", {id: "mask-half", type: "button", textContent: "Mask lower half"});
    const none = element("button", {id: "mask-none", type: "button", textContent: "Mask nothing"});
    page.root.append(
      element("div", {className: "paint"}, this.canvas),
      element("div", {className: "row"},
        element("label", {textContent: "Brush paints"}, this.tool),
        element("label", {textContent: "Brush, in pixels"}, this.brush), all, lower, none),
      element("p", {className: "help", textContent: "Load a picture, or sample one and use it; " +
        "then paint over what the model is to fill in. Grey is masked."}),
    );
    this.cursor = [0, 0];
    const at = event => {
      const box = this.canvas.getBoundingClientRect();
      return [Math.floor((event.clientY - box.top) / box.height * height),
              Math.floor((event.clientX - box.left) / box.width * width)];
    };
    this.canvas.addEventListener("pointerdown", event => {
      this.canvas.setPointerCapture(event.pointerId);
      this.stroke(...at(event), +this.tool.value);
    });
    this.canvas.addEventListener("pointermove", event => {
      if (event.buttons) this.stroke(...at(event), +this.tool.value);
    });
    this.canvas.addEventListener("keydown", event => {
      const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
      if (by) {
        this.cursor = [Math.min(height - 1, Math.max(0, this.cursor[0] + by[0])),
                       Math.min(width - 1, Math.max(0, this.cursor[1] + by[1]))];
      } else if (event.key === " ") {
        const [row, column] = this.cursor;
        this.holes[row * width + column] ^= 1;
      } else return;
      event.preventDefault();
      this.draw(true);
    });
    this.canvas.addEventListener("blur", () => this.draw());
    const fill = where => () => {
      this.holes = this.holes.map((_, i) => +where(Math.floor(i / width)));
      this.draw();
    };
    all.addEventListener("click", fill(() => true));
    lower.addEventListener("click", fill(row => row >= height / 2));
    none.addEventListener("click", fill(() => false));
  }

  stroke(row, column, value) {
    const {height, width} = this.page.model, size = Math.max(1, +this.brush.value || 1);
    const top = row - Math.floor((size - 1) / 2), left = column - Math.floor((size - 1) / 2);
    for (let i = Math.max(0, top); i < Math.min(height, top + size); i++) {
      for (let k = Math.max(0, left); k < Math.min(width, left + size); k++) {
        this.holes[i * width + k] = value;
      }
    }
    this.draw();
  }

  draw(cursor = false) {
    const {model} = this.page;
    paint(this.canvas, model, this.pixels, at => this.holes[Math.floor(at / model.channels)] === 1);
    if (!cursor) return;
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#c2410c";
    context.globalAlpha = 0.75;
    context.fillRect(this.cursor[1], this.cursor[0], 1, 1);
  }

  async set(edit) {
    this.pixels = bytesOf(edit.pixels);
    this.holes = bytesOf(edit.holes);
    this.draw();
  }

  edit() {
    const label = this.page.label();
    return {pixels: textOf(this.pixels), holes: textOf(this.holes), ...(label ? {label} : {})};
  }

  view(run, copy) {
    return new PictureView(this, run, copy);
  }

  file(run, [view]) {
    return ["filled.png", view.canvas];
  }
}

class PictureView {
  constructor(editor, run, copy) {
    this.editor = editor;
    this.run = run;
    const {model} = editor.page, size = model.height * model.width;
    this.reveal = new Reveal(run, copy);
    this.pixels = run.edit ? bytesOf(run.edit.pixels) : new Uint8Array(size * model.channels);
    this.holes = run.edit ? bytesOf(run.edit.holes) : new Uint8Array(size).fill(1);
    this.canvas = element("canvas", {attributes: {role: "img", "aria-label": `Filling ${copy + 1}`}});
    this.map = element("canvas", {className: "sure-map", attributes: {
      role: "img", "aria-label": "How sure the model was of each pixel"}});
    this.keep = element("button", {
      type: "button", className: "small", textContent: "Use this picture",
    });
    this.keep.addEventListener("click", () => {
      editor.pixels = this.whole();
      editor.holes = this.holes.map(() => 0);
      editor.draw();
    });
    this.how = element("figure", {}, this.map, element("figcaption", {
      textContent: "how sure: black to white"}));
    this.node = element("div", {}, this.canvas, this.how, this.keep);
  }

  whole() {
    const pixels = this.pixels.slice();
    for (const [at, {text}] of this.reveal.of(0)) pixels[at] = +text;
    return pixels;
  }

  show(frame) {
    this.reveal.go(frame);
    const {model, shaded} = this.editor.page, shown = this.reveal.of(0);
    const hole = at => this.holes[Math.floor(at / model.channels)] === 1;
    paint(this.canvas, model, this.whole(), at => hole(at) && !shown.has(at));
    this.how.hidden = !shaded();
    const sure = Uint8Array.from(this.pixels, (_, at) => 255 * (shown.get(at)?.sure ?? 0));
    paint(this.map, model, sure, at => !shown.has(at));
    this.keep.disabled = !this.reveal.whole;
  }
}
