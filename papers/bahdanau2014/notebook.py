# %% [markdown]
r"""
# Bahdanau, Cho and Bengio 2014, read with the code running

*Neural Machine Translation by Jointly Learning to Align and Translate*
([arXiv:1409.0473](https://arxiv.org/abs/1409.0473)) is where attention in neural translation begins.
This notebook walks through the paper in its own order. Nothing is implemented here: every cell calls
[`model.py`](model.py), [`optim.py`](optim.py) and the shared engine, and the source you see is printed from those
files.
(`path=readable` in a cell says that model.py runs as it stands; [`fast.py`](fast.py) is the same model, faster.)

Words used below: a **source** sentence x is translated into a **target** sentence y. Letters are the paper's:
h annotations, s decoder states, c contexts, α weights; n hidden units, m embedding size, V words.
"GroundHog" is the authors' released code, which settles what the paper leaves open.
"""

# %%
import math
import sys
from collections import Counter
from pathlib import Path

# The repository's root is the folder above this notebook that holds papers/.
sys.path.insert(0, str(next(up for up in Path("notebook.ipynb").resolve().parents if (up / "papers").is_dir())))

import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from torch import nn

from common.contract import Batch, pad
from common.corpus.declaration import DECLARED
from common.corpus.lines import read_parallel
from common.decode.beam import beam_search
from common.ids import EOS, START, UNK
from common.markdown import table
from common.report.notebook import code, committed, drawn, show
from common.run.plan import parameter_counts
from common.text.moses import Tokeniser
from common.text.pipeline import TextPipeline
from common.text.vocabulary import Vocabulary
from common.train.batching import minibatches
from common.train.loss import cross_entropy_sum
from common.yaml_files import read_yaml
from papers.bahdanau2014.model import (
    AlignmentModel,
    DecoderUnits,
    DeepOutput,
    Encoder,
    EncoderUnits,
    Readout,
    RNNsearch,
)
from papers.bahdanau2014.paper import PAPER

torch.set_num_threads(1)  # fastest at these sizes
print(PAPER.title)
print(PAPER.citation)

# %% [markdown]
r"""
## 1. What the paper claims

An encoder-decoder must press a whole sentence into one vector before it writes the first word. The paper's
conjecture (§1) is that this vector is the bottleneck, and its cure is to let the decoder *search*: before each target
word it looks over all source words again and takes a weighted mean of what it finds. **RNNsearch** does that;
**RNNencdec** is the same decoder with the one fixed vector. The number in a name is the longest training sentence.

These are the **paper's** figures, BLEU on English to French (Table 1), read from [`reported.yaml`](reported.yaml);
ours come at the end.
"""

# %%
printed = read_yaml(PAPER.root / "reported.yaml")["tables"]["table1"]["rows"]
rows = [[row["label"], f"{row['All']:.2f}", f"{row['No UNK']:.2f}"] for row in printed.values()]
gains = [f"{printed['rnnsearch-50'][column] - printed['rnnencdec-50'][column]:+.2f}" for column in ("All", "No UNK")]
rows.append(["*RNNsearch-50 over RNNencdec-50*", *gains])
Markdown(table(["paper's Table 1", "All sentences", "No unknown words"], rows, right=(1, 2)))

# %% [markdown]
r"""
## 2. A sentence becomes ids (§4.1)

The paper splits text with the Moses tokeniser, keeps the most frequent words of each language (30,000) and calls
everything else UNK. We do the same to 300 sentence pairs of a small *generated* language that comes with this
repository, with only 200 rows in each vocabulary so that UNK really occurs. Row 0 is the end of sentence, row 1 is UNK.
(`&apos;` is an apostrophe: the tokeniser escapes characters that mean something in HTML, as it did in 2014.)
"""

# %%
sizes = ["hidden=32", "embedding=20", "alignment=24", "maxout=16", "path=readable"]  # n, m, n', l: shapes tell
recipe = PAPER.recipe("rnnsearch-50", [*sizes, "corpus=demo", "vocabulary_size=200"])

sides = read_parallel(*(DECLARED / "demo" / f"train.{language}.xz" for language in ("en", "fr")))
pairs = list(zip(*sides, strict=True))[:300]
english, french = Tokeniser("en", False, "moses-2014"), Tokeniser("fr", False, "moses-2014")
shortlists = [
    Vocabulary.build(Counter(" ".join(map(tokeniser.tokenise, side)).split()), recipe.text.vocabulary_size)
    for tokeniser, side in zip((english, french), zip(*pairs, strict=True), strict=True)
]
text = TextPipeline("en", "fr", False, "moses-2014", *shortlists, segmenter=None)
source = [[*text.encode_source(line), EOS] for line, _ in pairs]
target = [[*text.encode_target(line), EOS] for _, line in pairs]

chosen = next(i for i, ids in enumerate(source) if ids.count(UNK) == 1 and UNK in target[i] and len(ids) > 12)
print("source ", pairs[chosen][0])
print("tokens ", text.source_tokens(pairs[chosen][0]))
print("ids    ", source[chosen], "   0 is the end of sentence,", UNK, "is UNK")
print("target ", pairs[chosen][1])
print("ids    ", target[chosen])
print("decoded", " ".join(text.target_tokens(target[chosen])))

# %% [markdown]
r"""
Three pairs make a batch. Shorter sentences are padded on the right; a mask says which positions are real.
`previous` is what the decoder is fed: the target shifted by one, beginning with START, which is no word at all but
the zero vector (GroundHog's y₀; the paper does not define it).
"""

# %%
by_length = {len(ids): i for i, ids in enumerate(source)}
three = [chosen, by_length[10], by_length[6]]
batch = Batch(*pad([source[i] for i in three]), *pad([target[i] for i in three]))
B, S = batch.source.shape
T = batch.target.shape[1]
print(f"B = {B} sentences, S = {S} source positions, T = {T} target positions, end of sentence counted")
print(batch.source)
print(batch.source_mask.int())
print("previous:", batch.previous[1].tolist(), f"(START is {START})")

# %% [markdown]
r"""
## 3. The gated unit (Eq. (1), App. A.1.1, A.2.1)

Both encoder and decoder are recurrent: the new state is a mixture, under the *update gate* z, of the old state and a
candidate. The *reset gate* r decides how much of the old state the candidate may see. Below are the decoder's units;
the encoder's are the same without a context c.

This looks like `torch.nn.GRUCell` and is not. PyTorch computes r ∘ (U s), the paper U (r ∘ s): the gate acts *after*
the matrix there, *before* it here. (PyTorch also swaps the roles of z and 1 − z; a sign on the weights undoes that.)
With the same weights the two agree only while the reset gate is wide open, r = 1.
"""

# %%
display(code(DecoderUnits.forward, EncoderUnits.forward))
torch.manual_seed(1)
unit, gru = EncoderUnits(PAPER.recipe("rnnsearch-50", ["hidden=4", "embedding=5"]).model), nn.GRUCell(5, 4)
x, s = torch.randn(3, 5), torch.randn(3, 4)  # (B, m), (B, n)


@torch.no_grad()
def compare(what):
    gru.weight_ih.copy_(torch.cat([unit.W_r, -unit.W_z, unit.W]))
    gru.weight_hh.copy_(torch.cat([unit.U_r, -unit.U_z, unit.U]))
    gru.bias_ih.copy_(torch.cat([unit.b_r, -unit.b_z, unit.b]))
    gru.bias_hh.zero_()
    difference = (unit(x, s) - gru(x, s)).abs().max()
    print(f"{what}: largest difference {difference:.3f}")


with torch.no_grad():
    for parameter in unit.parameters():
        parameter.normal_()
compare("gates as they fall  ")
with torch.no_grad():
    unit.W_r.zero_(), unit.U_r.zero_(), unit.b_r.fill_(50.0)
compare("reset gate held open")

# %% [markdown]
r"""
## 4. The encoder: one annotation for every source word (§3.2, Eq. (7))

Two such recurrences read the sentence, one forwards and one backwards. The annotation of word j joins both states,
h_j = [fwd h_j; bwd h_j], and so summarises the whole sentence with a focus on word j.
"""

# %%
display(code(EncoderUnits.read, Encoder.forward))
torch.manual_seed(2)
model = PAPER.build_model(recipe)
encoder, mask = model.encoder, batch.source_mask
with torch.no_grad():
    h, last = encoder(batch.source, mask)
n = recipe.model.hidden
print("embedded source, (B, S, m) :", tuple(encoder.embedding(batch.source).shape))
print("annotations h,  (B, S, 2n) :", tuple(h.shape))
print(
    "bwd h_1,            (B, n) :",
    tuple(last.shape),
    "- equal to the backward half of h at j = 1:",
    torch.equal(last, h[:, 0, n:]),
)

changed = batch.source.clone()
changed[0, 3] += 1  # another word at j = 4 of the first sentence
with torch.no_grad():
    moved = (encoder(changed, mask)[0] - h)[0].abs() > 0  # (S, 2n)
print("\nreplacing word j = 4 changes")
print("  the forward half of h_j at j =", [j + 1 for j in range(S) if moved[j, :n].any()])
print("  the backward half of h_j at j =", [j + 1 for j in range(S) if moved[j, n:].any()])

with torch.no_grad():
    by_itself, _ = encoder(batch.source[1:2, : len(source[three[1]])], mask[1:2, : len(source[three[1]])])
same = torch.allclose(h[1, : by_itself.shape[1]], by_itself[0], atol=1e-6)
print("\nsentence 2 gets the same annotations without its padding:", same)

# %% [markdown]
r"""
## 5. Alignment and context (Eq. (5), Eq. (6), App. A.1.2)

This is the invention. Before target word i, the decoder's state s_{i−1} is held against every annotation h_j. A
small network gives an energy e_ij, a softmax over j makes weights α_ij of them, and the context c_i is the weighted
mean of the annotations. U_a h_j does not depend on i, so it is computed once for a sentence.

v_a starts at zero (App. B.1). So every energy is 0 and an untrained model looks at all words alike: α is exactly
uniform over the real words, padding gets nothing, and the context is the plain mean of the annotations.
"""

# %%
display(code(AlignmentModel))
with torch.no_grad():
    state = model.encode(batch.source, mask)
    c, alpha = model.align(state.s, state.source)
print("s_0 (B, n)", tuple(state.s.shape), "  c_1 (B, 2n)", tuple(c.shape), "  alpha_1 (B, S)", tuple(alpha.shape))
for weights, length in zip(alpha.tolist(), mask.sum(1).tolist(), strict=True):
    print(f"{length:2d} words, 1/{length} = {1 / length:.4f}:", " ".join(f"{weight:.4f}" for weight in weights))
mean = (h * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
print("the context is the mean of the annotations:", torch.allclose(c, mean, atol=1e-6))

# %% [markdown]
r"""
## 6. The decoder's turn, in three readings

In which order does a word go into the state, the state into the attention, and both into the output? The paper's own
indices disagree: Eq. (4) reads s_i, App. A.2.2 reads s_{i−1}, and GroundHog does a third thing, which trained the
printed models and is the default here. All three are values of one recipe field.

Same parameters, different functions. R1 and R3 agree on the first word, where both read s_0, and part at the second.
"""

# %%
display(code(RNNsearch.R1, RNNsearch.R2, RNNsearch.R3))
logits = {}
for order in ("R1", "R2", "R3"):
    torch.manual_seed(3)
    reading = PAPER.build_model(PAPER.recipe("rnnsearch-50", [*sizes, "vocabulary_size=200", f"step_order={order}"]))
    with torch.no_grad():
        for parameter in reading.parameters():
            parameter.mul_(10)  # away from the tiny initial values, so that the readings differ visibly
        logits[order] = reading(batch)  # (B, T, V)


def like_r1(order, i):
    return "yes" if torch.allclose(logits[order][:, i], logits["R1"][:, i], atol=1e-5) else "no"


print("logits (B, T, V):", tuple(logits["R1"].shape))
Markdown(
    table(
        ["reading", "word 1 as in R1", "word 2 as in R1"],
        [[order, like_r1(order, 0), like_r1(order, 1)] for order in logits],
    )
)

# %% [markdown]
r"""
## 7. Deep output (App. A.2.2)

From the state, the previous word and the context come 2l sums; a maxout layer keeps the larger of each pair, and W_o
turns those l values into V logits. At the start all logits are nearly equal, so a word costs about ln V nats.
"""

# %%
display(code(DeepOutput.maxout, Readout.forward))
loss = cross_entropy_sum(model(batch), batch.target, batch.target_mask)
words = int(batch.target_mask.sum())
print(
    f"loss of an untrained model: {loss / words:.2f} nats a word; ln V = ln {recipe.text.vocabulary_size} = "
    f"{math.log(recipe.text.vocabulary_size):.2f}"
)

# %% [markdown]
r"""
## 8. At the paper's size: counting parameters

The same class with the paper's sizes. These numbers are arithmetic on the real model, built without memory on
PyTorch's meta device; `python -m papers.bahdanau2014 plan rnnsearch-50` prints them too.

Papers rarely say which biases they mean. The equations as printed have none; App. B.1 speaks of bias vectors (our
default gives each sum one); GroundHog has a set of its own, and two output matrices where the paper prints one.
"""

# %%
search, encdec = (parameter_counts(PAPER, PAPER.recipe(name)) for name in ("rnnsearch-50", "rnnencdec-50"))
rows = [[name, f"{count:,}", f"{encdec[name]:,}" if name in encdec else ""] for name, count in search.items()]
rows.append(["**total**", f"**{sum(search.values()):,}**", f"**{sum(encdec.values()):,}**"])
assert sum(search.values()) == 80_443_000
display(Markdown(table(["block", "RNNsearch-50", "RNNencdec-50"], rows, right=(1, 2))))

variants = {
    "the equations as printed": ["biases=none"],
    "one bias per sum (default)": [],
    "GroundHog's biases": ["biases=authors"],
    "GroundHog as released: its biases and its two output matrices": ["biases=authors", "readout=factored"],
}
rows = [
    [
        name,
        *(f"`{word}`" for word in [" ".join(words) or "-"]),
        f"{sum(parameter_counts(PAPER, PAPER.recipe('rnnsearch-50', words)).values()):,}",
    ]
    for name, words in variants.items()
]
Markdown(table(["RNNsearch-50", "overrides", "parameters"], rows, right=(2,)))

# %% [markdown]
r"""
## 9. Training (App. B.2)

Minibatches of 80 are cut from pools sorted by length, so that little is spent on padding. The loss is *summed* over
all words of the minibatch, then the gradient is scaled down to norm 1, then Adadelta takes the step. The sum matters:
its gradient is nearly always longer than 1, so Adadelta sees a direction only. The mean of the same loss would
slip under the limit, unclipped. That would be another algorithm.
"""

# %%
lengths = [torch.tensor([len(ids) for ids in side]).numpy() for side in (source, target)]
for number, rows in enumerate(minibatches(*lengths, recipe.batch, seed=1, epoch=0), start=1):
    longer = [max(len(source[i]), len(target[i])) for i in rows]
    print(f"minibatch {number}: {len(rows)} pairs, longer side {min(longer)} to {max(longer)} words")

optimization = PAPER.build_optimization(model, recipe)
parameters = list(model.parameters())


def gradient_norm():
    return math.sqrt(sum(float((parameter.grad**2).sum()) for parameter in parameters))


adadelta = recipe.optimizer
print(f"\noptimizer: {type(optimization.optimizer).__name__}, rho {adadelta.rho}, epsilon {adadelta.epsilon}")
for name, factor in (("sum ", 1), ("mean", 1 / words)):
    model.zero_grad()
    (factor * cross_entropy_sum(model(batch), batch.target, batch.target_mask)).backward()
    before = gradient_norm()
    optimization.condition_gradients(parameters)
    print(f"{name} of the loss: gradient norm {before:.2f}, after the limit {gradient_norm():.2f}")

# %% [markdown]
r"""
### Watch it learn to align

A toy task of our own makes the alignment visible within seconds: write the words of a sentence in reverse order.
(Adam instead of Adadelta, which would take some thousand updates more; the model is the real one.) Before: uniform,
as computed above. After 400 updates: target word 1 looks at the last source word, word 2 at the one before, and so on.
As in the paper's Figure 3, black is 0 and white is 1.
"""

# %%
toy = PAPER.recipe(
    "rnnsearch-50", ["hidden=32", "embedding=16", "alignment=32", "maxout=16", "vocabulary_size=12", "path=readable"]
)
torch.manual_seed(1)
learner = PAPER.build_model(toy)
draw = torch.Generator().manual_seed(0)


def reversal(sentences, length):
    words = torch.rand(sentences, 10, generator=draw).argsort(1)[:, :length] + 2  # ten words, none twice
    end, real = torch.full((sentences, 1), EOS), torch.ones(sentences, length + 1, dtype=torch.bool)
    return Batch(torch.cat([words, end], 1), real, torch.cat([words.flip(1), end], 1), real)


def matrix(axes, batch, title):
    with torch.no_grad():
        axes.imshow(learner.alignment(batch)[0], cmap="gray", vmin=0, vmax=1)
    names = ["abcdefghij"[word - 2] if word > 1 else "</s>" for word in batch.source[0].tolist()]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), [*names[-2::-1], "</s>"])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel(title)


example = reversal(1, 5)
drawing = Figure(figsize=(6, 3.1), layout="constrained")
panels = drawing.subplots(1, 2)
matrix(panels[0], example, "before training")
adam = torch.optim.Adam(learner.parameters(), betas=(0.9, 0.98))
for update in range(400):
    adam.param_groups[0]["lr"] = 0.02 * (1 - update / 400)
    task = reversal(32, 3 + update % 3)
    adam.zero_grad()
    cross_entropy_sum(learner(task), task.target, task.target_mask).backward()
    nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    adam.step()
matrix(panels[1], example, "after 400 updates")
drawn(drawing, "Alignment before training, evenly grey, and after it, a bright diagonal from upper right to lower left")

# %% [markdown]
r"""
## 10. Beam search (§4.2)

Decoding keeps the best few prefixes and lengthens them word by word. The paper does not report the details; the
recipe takes GroundHog's: beam 10, no length normalisation, and every finished hypothesis narrows the beam by one.
The search knows nothing of this model: it calls `encode` and `step`. `step` gives the logits of `forward`, one word
at a time.
"""

# %%
learner.eval()
test = reversal(100, 5)
found = beam_search(learner, test.source, test.source_mask, toy.decode)
print("source    ", test.source[0, :-1].tolist())
print("hypothesis", list(found[0][0].tokens))
right = sum([*best[0].tokens] == wanted[:-1] for best, wanted in zip(found, test.target.tolist(), strict=True))
print("at least 95 of 100 new sentences reversed without a fault:", right >= 95)

with torch.no_grad():
    state, stepped = learner.encode(test.source, test.source_mask), []
    for previous in test.previous.unbind(1):
        next_word, state = learner.step(previous, state)
        stepped.append(next_word)
    print("step by step equals forward:", torch.allclose(torch.stack(stepped, 1), learner(test), atol=1e-4))

# %% [markdown]
r"""
## 11. What our runs found

The demo (`./reproduce.sh demo bahdanau2014`) trains the paper's systems in miniature on **generated** text and
scores them. What follows is built by [`tables.py`](tables.py) from the results committed in `results/demo/`; our
numbers and the paper's are on different text and from models of different size, so compare within a column.

Look for three things. Figure 2: the fixed vector suffers as sentences grow. Figure 3, drawn as in the paper: English
adjectives stand before their nouns and most French ones after, so weights should cross there. And the claims at the
end: what the paper concludes, decided by code on these runs.
"""

# %%
show(committed(PAPER, "demo"), "Table 1", "Figure 2", "Figure 3", "Claims")

# %% [markdown]
r"""
## Where to go from here

- [`model.py`](model.py), the equations in the order of the paper's Appendix A, and [`fast.py`](fast.py), the same
  functions
  arranged for speed; [`README.md`](README.md) for open questions and every deviation.
- [`recipes/wmt14/rnnsearch-50.yaml`](recipes/wmt14/rnnsearch-50.yaml): each hyperparameter with its source.
- [The notebook of the other paper](../vaswani2017/notebook.ipynb), where attention needs no recurrence at all.
"""
