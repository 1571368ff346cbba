# What a type checker sees of `unmask`, whose names are loaded on first use.
from unmask import audit as audit
from unmask import backbones as backbones
from unmask import categorical as categorical
from unmask import checkpoint as checkpoint
from unmask import compression as compression
from unmask import data as data
from unmask import diffusion as diffusion
from unmask import likelihood as likelihood
from unmask import rivals as rivals
from unmask import roles as roles
from unmask import sampling as sampling
from unmask import schedules as schedules
from unmask import scoring as scoring
from unmask import subtokens as subtokens
from unmask import tables as tables
from unmask.diffusion import MaskedDiffusion as MaskedDiffusion
from unmask.estimate import Estimate as Estimate
from unmask.filling import fill as fill
from unmask.likelihood import estimate_nelbo as estimate_nelbo
from unmask.sampling import sample as sample
from unmask.scoring import score as score
from unmask.subtokens import Subtokenizer as Subtokenizer
from unmask.tables import TableModel as TableModel

__version__: str
