// Nodes, shades, and what of a filling is revealed after so many frames.  Text from a model or a
// user is only ever set as textContent.

export function element(tag, facts = {}, ...inside) {
  const made = document.createElement(tag);
  const {dataset = {}, attributes = {}, ...own} = facts;
  Object.assign(made, own);
  Object.assign(made.dataset, dataset);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

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
          if (texts[i] === null) return of.delete(position);  // hidden again
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
