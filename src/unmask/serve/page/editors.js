// What is edited and how a filling is shown: of sequences, pictures, tables.  Text from a model or
// a user is only ever set as textContent.

export function element(tag, facts = {}, ...inside) {
  const made = document.createElement(tag);
  const {dataset = {}, attributes = {}, ...own} = facts;
  Object.assign(made, own);
  Object.assign(made.dataset, dataset);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

const SPACE = "\u00a0";

// Shades 1 to 5 of a probability.
export function shade(p) {
  return "s" + (p < 0.2 ? 1 : p < 0.4 ? 2 : p < 0.6 ? 3 : p < 0.85 ? 4 : 5);
}

// Of one filling: what is shown at each position after so many frames, by example.
export class Reveal {
  constructor(run, copy) {
    this.run = run;
    this.copy = copy;
    this.clear();
  }

  clear() {
    this.at = 0;  // frames that are applied
    this.shown = new Map();  // example -> Map of position -> {text, sure}
    this.fresh = new Set();
  }

  of(example) {
    if (!this.shown.has(example)) this.shown.set(example, new Map());
    return this.shown.get(example);
  }

  go(frame) {
    if (frame < this.at) this.clear();
    for (; this.at < frame; this.at++) {
      this.fresh = new Set();
      for (const [copy, example, positions, texts, sure] of this.run.frames[this.at].added) {
        if (copy !== this.copy) continue;
        const of = this.of(example);
        positions.forEach((position, i) => {
          of.set(position, {text: texts[i], sure: sure[i]});
          this.fresh.add(`${example},${position}`);
        });
      }
    }
  }

  get whole() {
    return this.run.filled !== null && this.at >= this.run.frames.length;
  }

  // What is known of holes once they are whole: [position, size, text].
  final(example) {
    if (!this.whole) return [];
    return this.run.filled.filter(t => t[0] === this.copy && t[1] === example).map(t => t.slice(2));
  }
}

// ---------------------------------------------------------------- sequences

const MARKS = {
  text: {hole: n => n === 1 ? "[MASK]" : `[MASK:${n}]`, one: "[MASK]", letters: /\[MASK(:\d+)?\]/g},
  residues: {hole: n => "-".repeat(n), one: "-", letters: /(?!)/g},
};

// The file that cells say, and where each cell begins in it.
function compose(cells, marks) {
  let content = "";
  const starts = [];
  for (let k = 0; k < cells.length;) {
    const {hole} = cells[k], run = [];
    while (k < cells.length && cells[k].hole === hole) run.push(cells[k++]);
    if (hole) {
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
  return {content, starts};
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
    this.cells = [];  // of the first example
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
    if (added) board = await this.page.open({content: content + this.marks.one});
    if (!board || content !== this.area.value) return;
    const examples = board.examples.map(cells => asCells(cells));
    if (added) examples[0].pop();
    this.cells = examples[0];
    this.content = content;
    while (this.shown.length < examples.length) {
      const example = this.shown.length;
      this.shown.push(new Board("How the model sees it", this.by, taken => this.toggle(taken),
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
      const hidden = value.slice(from, to).replace(/[A-Za-z]/g, "-");
      this.area.setRangeText(hidden, from, to, "select");
      return this.read();
    }
    if (this.content !== value) await this.read();
    if (this.content !== value) return;  // and what is wrong with it has been said
    const {content, starts} = compose(this.cells, this.marks);
    const taken = this.cells.map((_, k) => k).filter(k => {
      const end = k + 1 < starts.length ? starts[k + 1] : content.length;
      return !this.cells[k].hole && starts[k] < to && end > from;
    });
    this.area.focus();
    await this.toggle(taken);
  }

  async toggle(taken) {
    if (!this.marks || !taken.length) return;
    // what was clicked is not there any more
    if (this.content !== this.area.value) return this.read();
    const cells = this.cells.map((cell, k) => taken.includes(k) ? {...cell, hole: true} : cell);
    await this.adopt(cells);
  }

  async maskAll() {
    if (this.content !== this.area.value) await this.read();
    if (this.content === null) return;
    await this.adopt(this.cells.map(cell => ({...cell, hole: true})));
  }

  // Go on from these cells, at once; how they are read then may tell other sizes of holes.
  async adopt(cells) {
    this.content = this.area.value = compose(cells, this.marks).content;
    const one = {text: "", size: 1, hole: true};
    const split = cells.flatMap(cell => cell.hole ? Array(cell.size).fill(one) : [cell]);
    this.cells = asCells(split.map(({text, size, hole}) => [text, size, hole]));
    this.shown[0]?.draw(this.cells);
    await this.read();
  }

  view(run, copy) {
    return new SequenceView(this, run, copy);
  }

  file(run, copies) {
    const texts = copies.map(view => view.text());
    if (this.marks === MARKS.residues) {
      return ["filled.fasta", texts.map((text, i) => `>filling-${i + 1}\n${text}\n`).join("")];
    }
    return ["filled.txt", texts.length === 1 ? texts[0] :
      texts.map((text, i) => `--- ${i + 1}\n${text}\n`).join("")];
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
    this.keep.addEventListener("click", () => {
      editor.adopt(this.cells(0).map(cell => ({...cell, hole: false})));
    });
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
    return this.free.has(cell.position) ? this.free.get(cell.position) : cell.was;
  }

  // Pin what was filled in, or mask what is there, and go on from that.
  toggle(example, taken) {
    if (!this.reveal.whole || !this.editor.marks) return;
    const cells = this.cells(example);
    const some = taken.map(k => cells[k]);
    const pin = some.some(cell => this.again(cell));
    if (pin && some.some(cell => cell.text.includes("\ufffd"))) {
      return this.editor.page.say("These bytes are no letter: they cannot be kept.");
    }
    for (const cell of some) this.free.set(cell.position, !pin);
    this.editor.adopt(cells.map(cell => ({...cell, hole: this.again(cell)})));
    this.show(this.reveal.at);
  }

  text() {
    return this.cells(0).map(cell => cell.hole ? "" : cell.text).join("");
  }
}

// The letters of a hole that is whole, where those of its tokens by themselves are others.
function respell(cells, position, size, text) {
  const first = cells.findIndex(cell => cell.position === position);
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

// ---------------------------------------------------------------- pictures

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

  file(run, views) {
    return ["filled.png", views[0].canvas];
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

// ---------------------------------------------------------------- tables

export class Grid {
  constructor(page) {
    this.page = page;
    const {columns} = page.model;
    this.fixed = columns.map(column => {
      const box = element("input", {type: "checkbox"});
      box.addEventListener("change", () => this.marks());
      return box;
    });
    const lists = columns.map((column, c) => element("datalist", {id: `values-${c}`},
      ...column.values.map(value => element("option", {value}))));
    const heads = columns.map((column, c) => element("th", {attributes: {scope: "col"}},
      column.name, element("label", {className: "check"}, this.fixed[c], "fixed")));
    this.body = element("tbody");
    this.table = element("table", {id: "grid"},
      element("thead", {}, element("tr", {}, element("th", {textContent: "row"}), ...heads)), this.body);
    const more = element("button", {id: "more", type: "button", textContent: "Add a row"});
    const less = element("button", {id: "less", type: "button", textContent: "Remove the last row"});
    const none = element("button", {id: "mask-all", type: "button", textContent: "Empty all cells"});
    page.root.append(
      element("div", {className: "wide"}, this.table), ...lists,
      element("div", {className: "row"}, more, less, none),
      element("p", {className: "help", textContent: "Empty cells are filled in; point at one, or " +
        "step into it, for how probable its values are. A fixed column stays as it is: what is " +
        "empty there is not known."}),
    );
    more.addEventListener("click", () => this.add(columns.map(() => "")));
    less.addEventListener("click", () => {
      if (this.body.rows.length > 1) this.body.lastChild.remove();
    });
    none.addEventListener("click", () => {
      for (const input of this.body.querySelectorAll("input")) input.value = "";
      this.marks();
    });
    this.body.addEventListener("input", () => this.marks());
    const point = event => this.point(event.target);
    this.body.addEventListener("pointerover", point);
    this.body.addEventListener("focusin", point);
    const leave = () => page.odds(null);
    this.body.addEventListener("pointerleave", leave);
    this.body.addEventListener("focusout", leave);
  }

  add(row) {
    const {columns, most} = this.page.model, number = this.body.rows.length + 1;
    if (number > most) return this.page.say(`The page takes ${most} rows.`);
    const cells = row.map((text, c) => {
      const input = element("input", {type: "text", value: text, autocomplete: "off",
        dataset: {row: number - 1, column: c},
        attributes: {"aria-label": `${columns[c].name}, row ${number}`}});
      if (columns[c].values.length) input.setAttribute("list", `values-${c}`);
      return element("td", {}, input);
    });
    this.body.append(element("tr", {},
      element("th", {attributes: {scope: "row"}, textContent: number}), ...cells));
    this.marks();
  }

  marks() {
    for (const input of this.body.querySelectorAll("input")) {
      const free = !input.value && !this.fixed[+input.dataset.column].checked;
      input.className = free ? "hole" : "";
      input.placeholder = input.value ? "" : free ? "" : "not known";
    }
  }

  point(target) {
    const {row, column} = target.dataset;
    if (!target.classList.contains("hole")) return this.page.odds(null);
    const cell = {hole: true, position: this.page.model.columns[+column].at};
    this.page.odds(this.edit(), +row, cell, target);
  }

  async set(edit) {
    this.body.replaceChildren();
    for (const row of edit.rows) this.add(row);
    const fixed = edit.fixed || [];
    this.fixed.forEach((box, c) => {
      box.checked = fixed.includes(this.page.model.columns[c].name);
    });
    this.marks();
  }

  edit() {
    const rows = [...this.body.rows].map(row =>
      [...row.querySelectorAll("input")].map(input => input.value));
    const {columns} = this.page.model;
    const fixed = columns.filter((_, c) => this.fixed[c].checked).map(column => column.name);
    return {rows, ...(fixed.length ? {fixed} : {})};
  }

  view(run, copy) {
    return new GridView(this, run, copy);
  }

  // Samples are rows of one table.
  together(run) {
    return !run.edit;
  }

  file(run, views) {
    const {columns, delimiter} = this.page.model;
    const quoted = text => /["\r\n]/.test(text) || text.includes(delimiter) ?
      `"${text.replaceAll('"', '""')}"` : text;
    const rows = [columns.map(column => column.name), ...views.flatMap(view => view.rows())];
    return ["filled.csv", rows.map(row => row.map(quoted).join(delimiter) + "\n").join("")];
  }
}

class GridView {
  constructor(editor, run, copy) {
    this.editor = editor;
    this.run = run;
    this.samples = !run.edit;
    const {columns} = editor.page.model;
    const many = this.samples ? run.num : run.edit.rows.length;
    // of samples, each row is a filling of its own
    this.reveals = Array.from({length: this.samples ? many : 1},
      (_, k) => new Reveal(run, this.samples ? k : copy));
    this.spans = Array.from({length: many}, () => columns.map(() => element("span")));
    const body = element("tbody", {}, ...this.spans.map((row, r) => element("tr", {},
      element("th", {attributes: {scope: "row"}, textContent: r + 1}),
      ...row.map((span, c) => {
        span.tabIndex = -1;
        Object.assign(span.dataset, {row: r, column: c});
        return element("td", {}, span);
      }))));
    const heads = columns.map(column => element("th", {attributes: {scope: "col"},
      textContent: column.name}));
    const table = element("table", {},
      element("thead", {}, element("tr", {}, element("th", {textContent: "row"}), ...heads)), body);
    this.keep = element("button", {type: "button", className: "small",
      textContent: "Use these rows"});
    this.keep.addEventListener("click", () => {
      editor.set({rows: this.rows().slice(0, editor.page.model.most), fixed: editor.edit().fixed});
    });
    if (!this.samples) {
      body.addEventListener("pointerover", event => {
        const {row, column} = event.target.dataset;
        const hole = row !== undefined && run.board.holes[+row][+column];
        const cell = hole ? {hole: true, position: columns[+column].at} : null;
        editor.page.odds(run.edit, +row, cell, event.target);
      });
      body.addEventListener("pointerleave", () => editor.page.odds(null));
      body.addEventListener("click", event => this.toggle(event.target));
    }
    this.node = element("div", {}, element("div", {className: "wide"}, table), this.keep);
  }

  cell(r, c) {
    const {at} = this.editor.page.model.columns[c];
    const reveal = this.samples ? this.reveals[r] : this.reveals[0];
    const example = this.samples ? 0 : r;
    if (!this.samples && !this.run.board.holes[r][c]) {
      return {text: this.run.edit.rows[r][c], kind: "given"};
    }
    const now = reveal.of(example).get(at);
    if (!now) return {text: "", kind: "hole"};
    const last = reveal.final(example).find(([position]) => position === at);
    const fresh = reveal.fresh.has(`${example},${at}`) && !reveal.whole;
    return {text: last ? last[2] : now.text, kind: `filled ${shade(now.sure)}${fresh ? " new" : ""}`};
  }

  show(frame) {
    for (const reveal of this.reveals) reveal.go(frame);
    this.spans.forEach((row, r) => row.forEach((span, c) => {
      const {text, kind} = this.cell(r, c);
      span.textContent = text;
      span.className = `cell ${kind}`;
    }));
    this.keep.disabled = !this.reveals[0].whole;
  }

  rows() {
    return this.spans.map((row, r) => row.map((_, c) => this.cell(r, c).text));
  }

  // What was filled in is kept, what was there is emptied: in the rows above.
  toggle(span) {
    if (span.dataset.row === undefined || !this.reveals[0].whole) return;
    const {row, column} = span.dataset;
    const input = this.editor.body.rows[+row]?.querySelectorAll("input")[+column];
    if (!input) return;
    input.value = input.value ? "" : span.textContent;
    span.classList.toggle("pinned", Boolean(input.value) && span.classList.contains("filled"));
    span.classList.toggle("again", !input.value && span.classList.contains("given"));
    this.editor.marks();
  }
}

export const EDITORS = {
  text: Sequence, residues: Sequence, plain: Sequence, pixels: Pixels, grid: Grid,
};
