"""What a training run is: one flat, frozen record, and presets of it.

A preset states command, cost and expected number.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

# how, not what: free to differ when a run is resumed
MACHINE = ("device", "dtype", "threads", "compile", "shard", "recompute", "log")
Dtype = Literal["auto", "float32", "bfloat16"]
# the names of samplers, of their time grids (`unmask.sampling` has both), and of how guidance
# changes over time
SamplerName = Literal[
    "ancestral", "first_hitting", "counts", "left-to-right", "right-to-left",
    "confidence", "margin", "entropy", "entropy-bounded",
    "remdm-cap", "remdm-rescale", "forward-backward",
]  # fmt: skip
# those that follow the times of a grid, and need some
TIMED = ("ancestral", "first_hitting", "remdm-cap", "remdm-rescale", "forward-backward")
# numbers that are of some samplers alone
OWN: dict[str, tuple[SamplerName, ...]] = {
    "gamma": ("entropy-bounded",),
    "eta": ("remdm-cap", "remdm-rescale"),
    "corrections": ("forward-backward",),
}
# what a sampler's numbers may be at most: more is a slip, or overflows
MOST_STEPS, MOST_CORRECTIONS, MOST_WEIGHT, COLDEST, HOTTEST = 2**20, 1000, 1e6, 1e-6, 1e6
BOUNDED = "the steps of entropy-bounded follow from --gamma: leave out --steps and --grid"
DrawName = Literal["exact", "float32-gumbel"]
GridName = Literal["cosine", "uniform"]
Ramp = Literal["constant", "rising", "falling"]
RivalName = Literal["", "ar", "sedd", "d3pm", "uniform"]
# rivals that leave the schedule as it is, and why
LINEAR = {"ar": "has no masks", "d3pm": "has the linear schedule alone"}
OF_UNET = {"widths": "32,64,128", "blocks": 2}
# what they are where nothing reads them: of schedules that are not learned, or have no power
OF_LEARNED, OF_POWERS = {"schedule_learning_rate": 0.01}, {"power": 1.0}
# what they are where tokens have no digits
OF_DIGITS = {"decoder": "joint", "codes": "ids", "masking": "digit", "objective": "nelbo"}
# of a run that begins with the weights of a model: what that says itself, by these names,
SAID = ("labels", "time", "schedule", "digits", "masking", "objective", "rival")
# and how its network was built, of which the run knows nothing
BUILT = (
    "network", "dim", "layers", "heads", "mlp", "neighbours", "traits", "widths", "blocks",
    "dropout", "power", "decoder", "codes",
)  # fmt: skip
OF_MODEL = (*SAID, *BUILT)
MOST_FOCUS = 32  # more is one count alone, and underflows
CADENCE = ("log_every", "eval_minutes", "checkpoint_minutes")
# what fields may be, by name
AT_LEAST_1 = (
    "dim", "heads", "blocks", "digits", "batch_size", "accumulate",
    "eval_windows", "eval_repeats", "log_every",
)  # fmt: skip
POSITIVE = ("learning_rate", "muon_learning_rate", "schedule_learning_rate", "power")
NOT_NEGATIVE = (
    "length", "layers", "mlp", "neighbours", "steps", "minutes", "warmup", "weight_decay", "clip",
    "eval_minutes", "checkpoint_minutes", "threads", "seed",
)  # fmt: skip
BELOW_1 = ("dropout", "label_dropout", "ema", "beta2")


@dataclass(frozen=True)
class TrainConfig:
    length: int = 256
    """Tokens a sequence; of proteins, the most, and longer ones are cropped; 0, or the number of
    its values: a whole picture."""
    network: Literal["transformer", "unet"] = "transformer"
    """transformer: for any data; unet: convolutions, for pictures."""
    dim: int = 256
    """Width of the transformer, or of the transformer blocks of a U-Net."""
    layers: int = 4
    """Blocks of attention and MLP; of a U-Net, those in its middle, 0 for one layer of attention.
    """
    heads: int = 4
    """Attention heads; they divide the width into even parts."""
    mlp: int = 0
    """Hidden width of the gated MLPs; 0: 8/3 of dim, rounded up to a multiple of 64."""
    neighbours: int = 0
    """Of a transformer, on sequences: both branches of each block see a weighted sum of so many
    neighbours of a position, itself among them (Canon layers); odd, unless --rival ar; 0: none."""
    traits: bool = False
    """Of pictures and tables, on whole tokens: know where the values of a pixel, or the numbers of
    a column, lie among each other.  Of two values there is nothing to know."""
    widths: str = "32,64,128"
    """Of a U-Net: the channels at each resolution, each half as fine as the one before."""
    blocks: int = 2
    """Of a U-Net: residual blocks a resolution on the way down; the way up has one more."""
    dropout: float = 0.0
    """On the embeddings, the attention and what each block adds; of a U-Net, inside its blocks."""
    labels: bool = False
    """Give the network the class of each picture."""
    label_dropout: float = 0.1
    """With --labels: the share of examples whose class is hidden, so that the network learns to do
    without, too."""
    time: bool = False
    """Let the network look at t; a schedule with one curve for all values does not need it."""
    schedule: Literal["linear", "cosine", "polynomial", "learned"] = "linear"
    """The masking schedule; the bound does not depend on it for a network that ignores t. learned:
    GenMD4, a polynomial for every value (of a token or, with --digits, of a digit), whose powers
    are learned; it needs --time."""
    power: float = 1.0
    """The power of the polynomial schedule, alpha_t = 1 - t^power; of the learned one, its powers'
    first value."""
    schedule_learning_rate: float = 0.01
    """AdamW's, of the learned schedule's powers, about their relative change a step; they stay
    between 0.05 and 20."""
    draws: int = 0
    """Draws of the masks of each sequence a step: 1, 2 (what GenMD4's gradient needs; of any other
    schedule, the control for it), or 0: 2 for the learned schedule, else 1."""
    digits: int = 1
    """MDM-Prime: write a token as so many digits and mask each on its own; 1 is MD4. The width must
    be a multiple of it."""
    decoder: Literal["joint", "independent"] = "joint"
    """Of digits: joint, a distribution over tokens; independent, one for each digit."""
    codes: Literal["ids", "random"] = "ids"
    """Of digits: those of the token's id, or of a random permutation of the ids (from --seed)."""
    masking: Literal["digit", "token"] = "digit"
    """Of digits: mask each on its own, or all of a token at once."""
    objective: Literal["nelbo", "joint"] = "nelbo"
    """What to train on: the bound, or the loss of the MDM-Prime paper, which is not a bound; what
    is reported is the bound either way."""
    focus: float = 0.0
    """Weigh the bound in the loss by (4 s (1 - s))^focus, s = (k - 1/2) / N where k of N units are
    masked, by no less than 0.3 where most are, scaled to mean 1: more of what is about half
    masked, less of almost all, hardly any of almost nothing; 0: train on the bound.  What is
    reported is the bound either way."""
    rival: RivalName = ""
    """Train another process on the same network, to compare with: ar, autoregressive, with an exact
    likelihood; sedd, score entropy; d3pm, 1000 discrete steps of masking; uniform, 1000 steps of
    uniform noise, which needs --time. Empty: masked diffusion."""

    batch_size: int = 64
    """Sequences a step, over all micro-batches; of proteins, as many times --length residues, in
    sequences of about one length."""
    accumulate: int = 1
    """Micro-batches a step, fresh masks for each; of several processes, a multiple of their number,
    by default one each."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon for the matrices of the blocks, AdamW for the rest."""
    learning_rate: float = 3e-3
    """AdamW's."""
    muon_learning_rate: float = 0.02
    """Muon's."""
    weight_decay: float = 0.03
    """Of matrices; never of norms, biases, embeddings or schedules."""
    beta2: float = 0.99
    """AdamW's second momentum."""
    clip: float = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is evaluated and saved; it warms up as (1 + n)
    / (10 + n)."""
    warmup: int = 50
    """Steps over which the learning rates rise."""
    decay: Literal["linear", "cosine"] = "linear"
    """How the learning rates fall to zero at the last step."""
    decay_share: float = 0.7
    """The share of the run, at its end, in which they fall."""

    steps: int = 0
    """Length of the run; 0: take it from --minutes."""
    minutes: float = 0.0
    """Length of the run if --steps is 0: turned into steps by the rate of the first ones, corrected
    where the rate changes, and saved; a longer run is a new run."""
    seed: int = 0
    """Of the weights, the order of the data, the masks and dropout."""

    eval_minutes: float = 1.0
    """Minutes between evaluations on the validation split; 0: none but the last."""
    eval_windows: int = 256
    """Windows of the validation split in an evaluation, spread evenly over it."""
    eval_repeats: int = 2
    """Draws a window."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints, of which the last two are kept; 0: the last alone, and one
    where a run of --minutes is planned."""
    log_every: int = 50
    """Steps between lines of log.jsonl."""

    device: str = "auto"
    """auto: cuda where there is one, else cpu."""
    dtype: Dtype = "auto"
    """auto: bfloat16 autocast where the machine is fast at it."""
    threads: int = 0
    """CPU threads; 0: leave as it is."""
    compile: bool = False
    """torch.compile the network's blocks; needs a C++ compiler.  A step of a large network takes
    about half the time on a GPU, after a wait of 15 seconds; on CPUs it pays off in long runs only.
    """

    shard: bool = False
    """Of several processes, as torchrun starts them: leave each its piece of all weights and
    optimizer states (FSDP2), instead of a copy."""
    recompute: bool = False
    """Compute what is inside a block anew in the backward pass instead of keeping it: less memory,
    a third more time."""
    log: Literal["", "tensorboard", "wandb"] = ""
    """Where the rows of log.jsonl also go, inside the run's folder: tensorboard, its event files;
    wandb, an offline run, which `wandb sync` can send. Each needs the extra of its name."""

    def check(self) -> None:
        """ValueError for a value that cannot be meant."""
        self._check_ranges()
        self._check_network()
        if not self.labels and self.label_dropout != TrainConfig.label_dropout:
            given = f"label_dropout {self.label_dropout}"
            raise ValueError(f"{given} hides labels, and none are given: give --labels")
        given, plain = self._first_changed(OF_DIGITS)
        if given and self.digits == 1:
            raise ValueError(f"{given} needs digits of tokens: give --digits 2 or more, or {plain}")
        learned = self.schedule == "learned"
        if self.draws not in (0, 1, 2) or (learned and self.draws == 1):
            allowed = "0, 1 or 2, and 0 or 2 with --schedule learned"
            raise ValueError(f"draws must be {allowed}, not {self.draws}")
        if learned and not self.time:
            raise ValueError(
                "--schedule learned needs --time: with one curve per value, being masked at t is "
                "evidence about the value, so the network must look at t"
            )
        of_others = {} if learned else OF_LEARNED
        if self.schedule in ("linear", "cosine"):
            of_others = of_others | OF_POWERS
        given, plain = self._first_changed(of_others)
        if given:
            raise ValueError(f"{given} is not of schedule {self.schedule}: give {plain}")
        self._check_focus()
        self._check_rival()
        if not 0 < self.decay_share <= 1:
            raise ValueError(f"decay_share must lie in (0, 1], not {self.decay_share}")
        if self.batch_size % self.accumulate:
            given = f"batch_size {self.batch_size}"
            raise ValueError(f"{given} is not a multiple of accumulate {self.accumulate}")
        if bool(self.steps) == bool(self.minutes):
            given = f"steps {self.steps} and minutes {self.minutes}"
            raise ValueError(f"give the length of the run as steps or as minutes, not {given}")

    def _check_ranges(self) -> None:
        """ValueError for a number that no run can have."""
        at_least_1, infinity = AT_LEAST_1, float("inf")
        if self.network == "transformer":
            at_least_1 += ("layers",)
        for name, value in asdict(self).items():
            if name in at_least_1 and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
            if name in POSITIVE and not 0 < value < infinity:
                raise ValueError(f"{name} must be positive, not {value}")
            if name in NOT_NEGATIVE and not 0 <= value < infinity:
                raise ValueError(f"{name} must not be negative, not {value}")
            if name in BELOW_1 and not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), not {value}")

    def _check_network(self) -> None:
        """ValueError for what the network cannot have."""
        unet = self.network == "unet"
        given, plain = self._first_changed(OF_UNET)
        if given and not unet:
            raise ValueError(
                f"{given} is of --network unet, and this is a {self.network}: give {plain}"
            )
        self.channels()
        if self.neighbours and unet:
            given, fix = f"neighbours {self.neighbours}", "--neighbours 0"
            raise ValueError(f"{given} is of --network transformer, and this is a unet: {fix}")
        if self.traits and self.digits > 1 and not unet:  # which has no digits at all
            given = f"digits {self.digits}"
            raise ValueError(f"{given} have no traits, which are of whole tokens: --no-traits")
        if self.neighbours and not self.neighbours % 2 and self.rival != "ar":
            raise ValueError(f"neighbours must be an odd number, or 0, not {self.neighbours}")
        if unet and not self.layers and (self.dim, self.mlp) != (TrainConfig.dim, 0):
            given = f"dim {self.dim} and mlp {self.mlp}"
            raise ValueError(
                f"{given} are of transformer blocks, and this U-Net has none: give --layers"
            )

    def _check_focus(self) -> None:
        """ValueError for a loss that cannot be weighted, or not so."""
        if not 0 <= self.focus <= MOST_FOCUS:
            raise ValueError(f"focus must lie between 0 and {MOST_FOCUS}, not {self.focus}")
        given = f"--rival {self.rival}" if self.rival else ""
        if self.schedule == "learned":
            given = "--schedule learned"
        elif self.objective != "nelbo":
            given = f"--objective {self.objective}"
        if self.focus and given:
            raise ValueError(
                f"focus {self.focus:g} weighs the bound of masked diffusion with one curve for all "
                f"values: give --focus 0 with {given}"
            )

    def _check_rival(self) -> None:
        """ValueError for what the rival cannot have."""
        rival = f"--rival {self.rival}"
        if not self.rival:
            return
        given = plain = ""
        if self.digits > 1:
            given, plain = "digits of tokens are", "--digits 1"
        elif self.schedule == "learned":
            given, plain = "a learned schedule is", "--schedule linear"
        if given:
            raise ValueError(f"{given} of masked diffusion, not of {rival}: give {plain}")
        why = LINEAR.get(self.rival)
        if why and self.schedule != "linear":
            given = f"schedule {self.schedule} is not for {rival}, which {why}"
            raise ValueError(f"{given}: give --schedule linear")
        if self.rival == "uniform" and not self.time:
            raise ValueError(
                f"{rival} needs --time: its noise does not show which values are noise, so the "
                "network must look at t"
            )
        if self.rival != "ar":
            return
        if self.network != "transformer" or self.time:
            plain = "--no-time" if self.time else "--network transformer"
            raise ValueError(f"{rival} is a causal transformer without a time: give {plain}")
        if self.draws:
            given = f"draws {self.draws} is not for {rival}, which draws nothing in training"
            raise ValueError(f"{given}: give --draws 0")

    def _first_changed(self, plain: dict) -> tuple[str, str]:
        """The first field that is not as in `plain`, with its value, and the flag that makes it so;
        "" if all are.

        A preset may have given it, so that nobody could leave it out.
        """
        for name, value in plain.items():
            if getattr(self, name) != value:
                return f"{name} {getattr(self, name)}", f"--{name.replace('_', '-')} {value}"
        return "", ""

    def channels(self) -> tuple[int, ...]:
        """`widths`, as numbers."""
        parts = [part.strip() for part in self.widths.split(",")]
        if not all(part.isdigit() and int(part) for part in parts):
            fix = "give numbers of channels with commas between them, like 32,64,128"
            raise ValueError(f"widths {self.widths!r}: {fix}")
        return tuple(map(int, parts))

    def identity(self, *, weights: bool = False) -> dict:
        """The fields that make two runs the same run.

        All but those on the machine, and on how often things are written.  `weights`: of a run that
        begins with those of a model, without how that was built.
        """
        free = (*MACHINE, *CADENCE, *(BUILT if weights else ()))
        return {name: value for name, value in asdict(self).items() if name not in free}


def differences(ours: dict, theirs: dict) -> list[str]:
    """Names of `TrainConfig.identity` whose values differ.

    What an older version did not know has its default.
    """
    plain = {field.name: field.default for field in fields(TrainConfig)}
    theirs = plain | theirs
    return [name for name in plain if name in ours and ours[name] != theirs[name]]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A sampler and what it does: flags of the command line, settings of a page, `Filler`'s how."""

    sampler: SamplerName = "ancestral"
    """ancestral: --steps parallel steps; first_hitting: exact, one position at a time;
    counts: exact numbers of positions a step, in random order; left-to-right and the following: in
    an order that follows from what is revealed, the surest first by one of three measures;
    entropy-bounded: the surest, as many a step as --gamma allows.
    Those that draw again what is revealed: remdm-cap, remdm-rescale: each is hidden again now and
    then, see --eta; forward-backward: --corrections after each ancestral step."""
    steps: int = 0
    """More are closer to the exact law, and slower; 0: 256 of samplers that need some,
    of counts and orders one position a step."""
    grid: str = "cosine"
    """Times of the steps: cosine reveals few positions first; uniform;
    or a file that `unmask grid` wrote."""
    temperature: float = 1.0
    """1: the model's own law; anything else is not."""
    top_p: float = 1.0
    """Draw from the fewest values whose probabilities sum to this (nucleus sampling);
    1: the model's own law, anything else is not."""
    gamma: float = 0.1
    """Of entropy-bounded: how many nats what a step reveals may depend on each other, at most;
    0: one position a step, and those whose values are certain."""
    eta: float = 0.02
    """Of remdm-cap: the largest probability of being hidden again in a step; of remdm-rescale: the
    share of the largest that the forward process allows."""
    corrections: int = 1
    """Of forward-backward: how often each step is gone back and drawn again, exactly."""
    draw: DrawName = "exact"
    """float32-gumbel: what much published code does, which cuts off what is rarer than about 1 in
    10^7 and is colder than it says; to measure that, and for nothing else."""
    guidance: float = 0.0
    """Of a network that was given classes: how far to push samples towards their class
    (classifier-free guidance); 0: the model's own law, anything else is not."""
    guidance_schedule: Ramp = "constant"
    """The weight over time: --guidance throughout;
    rising from 0 to it, or falling from it to 0, as values are revealed."""

    def check(self, *, watched: bool = False) -> None:
        """ValueError for a value that cannot be, or that has no effect with this sampler.

        `watched`: whether the states on the way are looked at, not the last one alone.
        """
        if not abs(self.guidance) <= MOST_WEIGHT:
            limits = f"between -{MOST_WEIGHT:g} and {MOST_WEIGHT:g}"
            raise ValueError(f"--guidance must lie {limits}, not {self.guidance}")
        if self.guidance_schedule != "constant" and not self.guidance:
            raise ValueError(
                f"--guidance-schedule {self.guidance_schedule} is of a weight, and there is none: "
                "give --guidance"
            )
        one_of("sampler", self.sampler, get_args(SamplerName))
        one_of("draw", self.draw, get_args(DrawName))
        if self.steps < 0 or not self.temperature > 0:
            raise ValueError(
                "steps must be at least 1 and temperature positive, "
                f"not {self.steps} and {self.temperature}"
            )
        if self.steps > MOST_STEPS:
            raise ValueError(f"--steps must be at most {MOST_STEPS:,}, not {self.steps:,}")
        if not COLDEST <= self.temperature <= HOTTEST:
            limits = f"between {COLDEST:g} and {HOTTEST:g}"
            raise ValueError(f"--temperature must lie {limits}, not {self.temperature}")
        check_top_p(self.top_p)
        check_gamma(self.gamma)
        if not 0 <= self.eta <= 1:
            raise ValueError(f"--eta must lie between 0 and 1, not {self.eta}")
        if self.corrections < 1:
            raise ValueError(f"--corrections must be at least 1, not {self.corrections}")
        if self.corrections > MOST_CORRECTIONS:
            most = f"at most {MOST_CORRECTIONS:,}"
            raise ValueError(f"--corrections must be {most}, not {self.corrections:,}")
        for name in OWN:
            if getattr(self, name) != getattr(Sampling, name):
                check_own(self.sampler, name)
        # a filler's may be a tensor
        plain = isinstance(self.grid, str) and self.grid == Sampling.grid
        if self.sampler == "entropy-bounded" and (self.steps or not plain):
            raise ValueError(BOUNDED)
        if self.sampler == "first_hitting" and not watched and (self.steps or not plain):
            raise ValueError(
                "the law of first_hitting depends on neither --steps nor --grid: leave them out"
            )
        if self.sampler not in TIMED:
            check_grid(self.steps, self.grid)

    def own(self) -> dict[str, Any]:
        """The numbers that are of this sampler."""
        return {name: getattr(self, name) for name, of in OWN.items() if self.sampler in of}

    def how(self) -> dict[str, Any]:
        """These fields, as `Filler` takes them."""
        made = {field.name: getattr(self, field.name) for field in fields(Sampling)}
        return made | {"steps": self.steps or None}


def check_grid(steps: int, grid: Any) -> None:
    """ValueError for the kind of a grid of no steps, which are then one unit each."""
    # a filler's grid may be a tensor, and a command's a file, of so many steps
    kinds = [kind for kind in get_args(GridName) if kind != Sampling.grid]
    if not steps and isinstance(grid, str) and grid in kinds:
        raise ValueError(f"--grid {grid} is of --steps: give some, or leave it out")


def one_of(name: str, value: Any, names: tuple[str, ...]) -> None:
    """ValueError for a name that is none of these."""
    if value not in names:
        raise ValueError(f"{name} must be one of {', '.join(names)}, not {value!r}")


def check_own(sampler: str, *names: str) -> None:
    """ValueError for numbers, by name, that are of other samplers."""
    for name in names:
        if sampler not in OWN.get(name, (sampler,)):
            raise ValueError(
                f"{name} is of {' and '.join(OWN[name])}, not of {sampler}: leave it out"
            )


def check_gamma(gamma: float) -> None:
    """ValueError unless it is a number of nats."""
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma must be a number of nats from 0 on, not {gamma}")


def check_top_p(top_p: float) -> None:
    """ValueError unless it lies in (0, 1]."""
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie above 0 and be at most 1, not {top_p}")


@dataclass(frozen=True)
class Preset:
    config: TrainConfig
    about: str
    """Command, cost, expected number."""
