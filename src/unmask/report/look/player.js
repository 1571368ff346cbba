// Steps through the states of a filling, by a button, a slider and arrow keys: of reports and of
// the page of unmask serve.
const PACE = 6000;  // milliseconds for all states, if that is neither too fast nor too slow to watch

export class Player {
  // root: holds a .player with a button and a slider, and an output; draw(state) shows a state and
  // returns what is said of it.
  constructor(root, draw) {
    const box = root.querySelector(".player");
    this.button = box.querySelector("button");
    this.slider = box.querySelector("input");
    this.said = root.querySelector(".player ~ output");
    this.draw = draw;
    this.timer = 0;
    this.button.addEventListener("click", () => this.toggle());
    this.slider.addEventListener("input", () => this.go(this.at));
    box.addEventListener("keydown", event => {
      if (event.target !== this.slider) this.key(event);  // a slider has keys of its own
    });
  }

  get at() { return +this.slider.value; }
  get last() { return +this.slider.max; }

  set last(many) {
    this.slider.max = many;
    this.button.disabled = !many;
  }

  show(state = this.at) {
    this.slider.value = state;
    const words = this.draw(this.at);
    this.said.textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
  }

  // To a state that somebody chose.
  go(state) {
    this.stop();
    this.show(state);
  }

  key(event) {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.go(Math.min(this.last, Math.max(0, this.at + by)));
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.button.textContent = "Play";
  }

  toggle() {
    if (this.timer) return this.stop();
    if (this.at >= this.last) this.show(0);
    this.button.textContent = "Pause";
    this.timer = setInterval(() => {
      if (this.at < this.last) this.show(this.at + 1);
      if (this.at >= this.last) this.stop();
    }, Math.min(500, Math.max(40, PACE / (this.last + 1))));
  }
}
