"""The words, the frame, the style and the script of the page that `unmask.report` writes."""

SAYS = {
    "frames": "Generation starts with every position masked (grey) and reveals some at each step "
    "until none is left; what has just been revealed is coloured. Lines are laid out as in the "
    "finished text, so that nothing moves.",
    "samples": "Generated from nothing: every position was masked at first.",
    "fill": "The given text stays as it is, and the model fills the holes; every completion is "
    "another draw.",
    "bound": "The fewer bits the model needs to encode data that it has not seen, the better it "
    "has learned what such data are. Its number is an upper bound: the true one can only be lower.",
    "log": "In training, positions are hidden at random and the model is scored on what it says "
    "they were: single steps are light and noisy, their running mean is dark, and dots are "
    "evaluations on the validation split, with one standard error either way.",
    "count": "The more is hidden, the harder it is to tell what it was: bits per masked position, "
    "by the share masked.",
    "area": " The bound is the area under this curve: the mean over all shares of masked "
    "positions, each as likely as any other.",
    "schedule": "The schedule says how likely a position is to be still visible at a time between "
    "0, clean data, and 1, where everything is masked; generation runs from 1 back to 0.",
}

# of reports and of the page of `unmask serve`
LOOKS = """
:root{color-scheme:light dark;--back:#fcfcfa;--card:#f3f3ef;--text:#1d1d1f;--soft:#66666c;
--rule:#dededa;--block:#d3d3cf;--main:#2f5fd0;--new:#c6d6fb;--dot:#c2410c}
@media(prefers-color-scheme:dark){:root{--back:#17181b;--card:#202226;--text:#e7e6e2;--soft:#a0a0a6;
--rule:#36383d;--block:#43464d;--main:#8fb2ff;--new:#35509a;--dot:#ff9b6a}}
*{box-sizing:border-box}
"""

STYLE = (
    LOOKS
    + """
body{margin:0 auto;padding:2.5rem 1.15rem 3rem;max-width:760px;background:var(--back);
color:var(--text);font:1.0625rem/1.6 Charter,"Bitstream Charter","Sitka Text",Cambria,Georgia,serif;
-webkit-text-size-adjust:100%}
h1,h2,h3,table,figure,button,output,.key,footer{
font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;letter-spacing:-.005em;margin:3rem 0 .35rem}
h3{font-size:.8rem;font-weight:600;color:var(--soft);margin:1.1rem 0 .3rem}
p{margin:0 0 1rem}
table{border-collapse:collapse;width:100%;font-size:.92rem;line-height:1.4;
font-variant-numeric:tabular-nums}
th,td{text-align:left;font-weight:400;padding:.42rem 0;vertical-align:top;overflow-wrap:anywhere}
tr{border-bottom:1px solid var(--rule)}
th{color:var(--soft);padding-right:1.2rem;width:34%}
.bars tr{border:0}
.bars th,.bars td{vertical-align:middle;padding-block:.3rem}
.bars td:last-child{width:1%;padding-left:.9rem;text-align:right;white-space:nowrap}
.bars caption,figcaption,.xname{font-size:.8rem;color:var(--soft);text-align:left}
.bars .own th,.bars .own td{color:var(--text);font-weight:600}
.bar{position:relative;height:.95rem}
.bar i{display:block;height:100%;background:var(--block);border-radius:2px}
.own .bar i{background:var(--main)}
.bar b{position:absolute;top:.125rem;height:.7rem;border:solid var(--text);border-width:0 1.5px;
background:linear-gradient(var(--text),var(--text)) center/100% 1.5px no-repeat}
.bars caption{padding-bottom:.4rem}
pre{margin:0 0 .9rem;padding:.85rem 1rem;background:var(--card);border-radius:7px;
white-space:break-spaces;overflow-wrap:anywhere;
font:.875rem/1.55 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;tab-size:4}
mark{color:inherit;border-radius:2px}.hole{background:var(--block)}.new{background:var(--new)}
.key{font-size:.8rem}
.key span,.key mark{padding:.1rem .4rem;margin-right:.4rem}
.key span{background:var(--card);border-radius:2px}
figure{margin:1.1rem 0 0;padding:0 1.1rem 0 2.4rem}figcaption{margin:0 0 .7rem -2.4rem}
.xname{text-align:center;margin-top:1.75rem}
svg{display:block;overflow:visible;font-size:.78rem;font-variant-numeric:tabular-nums}
svg text{fill:var(--soft)}
svg .halo{fill:var(--text);paint-order:stroke;stroke:var(--back);stroke-width:4px;
stroke-linejoin:round}
polyline{fill:none;vector-effect:non-scaling-stroke;stroke:var(--main);stroke-width:2.2;
stroke-linejoin:round}
.raw{stroke-width:1;opacity:.3}.one{stroke-width:1;opacity:.22}.area{fill:var(--main);opacity:.13}
.grid{stroke:var(--rule)}
.level{stroke:var(--soft);stroke-dasharray:5 4}
.error{stroke:var(--dot);stroke-width:1.6}
circle{fill:var(--dot)}
img{display:block;max-width:100%;image-rendering:pixelated;border-radius:3px}
#frame{word-break:break-all;margin-top:.8rem}
#frame span{transition:background-color .35s}#frame .hidden{background:var(--block);transition:none}
.controls{display:flex;align-items:center;gap:.8rem}
.controls input{flex:1;min-width:0;margin:0;height:2rem;accent-color:var(--main)}
button{font-size:.9rem;width:5rem;height:2.2rem;border:1px solid var(--rule);border-radius:7px;
background:var(--card);color:var(--text);cursor:pointer}
button:hover{border-color:var(--soft)}
output{display:block;font-size:.85rem;color:var(--soft);font-variant-numeric:tabular-nums;
margin-top:.35rem}
footer{margin-top:3.5rem;padding-top:1rem;border-top:1px solid var(--rule);font-size:.82rem;
color:var(--soft);overflow-wrap:anywhere}
.wide{font-size:.8rem}.wide th,.wide td{padding-right:.7rem;width:auto}
@media(max-width:520px){
.bars tr{display:grid;grid-template-columns:1fr auto}
.bars th{grid-column:1/-1;padding-bottom:0}
.bars td:last-child,.bars th{width:auto}
pre{padding:.75rem .8rem;font-size:.8rem}}
@media(prefers-reduced-motion:reduce){#frame span{transition:none}}
"""
)

INTRO = """A masked diffusion model learns to tell what hidden positions hold from those it can see;
it writes by starting with everything hidden and revealing a little at a time."""
INTRO_OF_QUALITY = """Synthetic rows beside real ones. Real rows that were held out are compared
with the training rows by the same measures: what they reach is what as good as real means here,
since a small file of real rows differs from another one, too."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{intro}</p>
<table>{rows}</table>
{parts}
</main>
<footer>{sources}</footer>
</body>
</html>
"""

STEPPER = """<div class="controls"><button type="button" id="play">Play</button>
<input type="range" id="step" min="0" max="{last}" value="0" aria-label="Step of generation"></div>
<output id="where" for="step" aria-live="off"></output>
<pre id="frame">
{final}</pre>
<script type="application/json" id="states">{data}</script>
<script>{script}</script>"""

SCRIPT = """
(function () {
  const get = id => document.getElementById(id);
  const {size, changes} = JSON.parse(get("states").textContent);
  const slider = get("step"), button = get("play"), last = changes.length - 1;
  const states = [], final = Array(size).fill(0);
  for (const list of changes) {
    for (const [i, text] of list) final[i] = text;
    states.push(final.slice());
  }
  const spans = final.map(() => document.createElement("span"));
  get("frame").replaceChildren(...spans);
  const space = "\\u00a0";
  const blank = c => c === "\\n" ? " \\n" : space;
  const block = text => text ? Array.from(text, blank).join("") : space;
  let timer = 0;
  function show(step) {
    let masked = 0;
    states[step].forEach((text, i) => {
      const fresh = text && step > 0 && !states[step - 1][i];
      spans[i].textContent = text || block(final[i]);
      spans[i].className = text ? (fresh ? "new" : "") : "hidden";
      masked += !text;
    });
    slider.value = step;
    const words = `step ${step} of ${last}, ${masked} of ${size} masked`;
    slider.setAttribute("aria-valuetext", words);
    get("where").textContent = words;
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  }
  function tick() {
    if (+slider.value < last) show(+slider.value + 1);
    if (+slider.value >= last) stop();
  }
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (+slider.value >= last) show(0);
    timer = setInterval(tick, Math.min(500, Math.max(40, 9000 / (last + 1))));
    button.textContent = "Pause";
  });
  slider.addEventListener("input", () => { stop(); show(+slider.value); });
  document.addEventListener("keydown", event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!by || event.target === slider || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    stop();
    show(Math.min(last, Math.max(0, +slider.value + by)));
  });
  show(0);
})();
"""
