# %% [markdown]
r"""
# Vaswani et al. 2017, read with the code running

*Attention Is All You Need* ([arXiv:1706.03762](https://arxiv.org/abs/1706.03762)) keeps the attention of
[Bahdanau et al. 2014](../bahdanau2014/notebook.ipynb) and drops everything around it: no recurrence, no convolution.
This notebook walks through the **Transformer** in the paper's order. Nothing is implemented here: every cell calls
[`model.py`](model.py), [`optim.py`](optim.py) and the shared engine, and the source you see is printed from those
files.
(`path=readable` in a cell says that model.py runs as it stands; [`fast.py`](fast.py) is the same model, faster.)

Letters are the paper's: d = d_model, h heads, d_k and d_v the sizes of a key and a value in one head, N layers.
B counts sentences, S source and T target positions, V words. "v1.0" is the authors' first public code
(tensor2tensor, June 2017), which settles what the paper leaves open.
"""

# %%
import math
import sys
from pathlib import Path

# The repository's root is the folder above this notebook that holds papers/.
sys.path.insert(0, str(next(up for up in Path("notebook.ipynb").resolve().parents if (up / "papers").is_dir())))

import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from common.contract import EOS, Batch
from common.decode.beam import beam_search
from common.markdown import table
from common.report.notebook import code, committed, drawn, show
from common.report.page import COLOURS
from common.run.plan import parameter_counts
from common.train.loss import cross_entropy_sum
from common.yaml_files import read_yaml
from papers.vaswani2017.model import (
    AddAndNorm,
    DecoderLayer,
    FeedForward,
    MultiHeadAttention,
    Transformer,
    attention_weights,
    scaled_dot_product_attention,
    sinusoids,
)
from papers.vaswani2017.optim import learning_rate
from papers.vaswani2017.paper import PAPER

torch.set_num_threads(1)  # fastest at these sizes
print(PAPER.title)
print(PAPER.citation)

# %% [markdown]
r"""
## 1. What the paper claims

A recurrent network must take a sentence one word after the other, so it trains slowly, and a word's influence on a
distant one has to travel through every step between them. If every position may look at every other directly, both
obstacles go: all positions are computed at once, and any two are one step apart (§4, Table 1).

These are the **paper's** figures on newstest2014 (Table 2), read from [`reported.yaml`](reported.yaml): better BLEU for
less training. Ours come at the end.
"""

# %%
reported = read_yaml(PAPER.root / "reported.yaml")["tables"]
printed = reported["table2"]["rows"]
columns = ["EN-DE", "EN-FR", "FLOPs EN-DE", "FLOPs EN-FR"]
forms = ["g", "g", ".1e", ".1e"]
rows = [
    [row["label"], *(format(row[name], form) if name in row else "" for name, form in zip(columns, forms, strict=True))]
    for row in printed.values()
]
Markdown(table(["paper's Table 2", "BLEU EN-DE", "BLEU EN-FR", *columns[2:]], rows, right=(1, 2, 3, 4)))

# %% [markdown]
r"""
## 2. Scaled dot-product attention (§3.2.1, Eq. (1))

A query is compared with every key by a dot product; a softmax turns the products into weights; the result is the
weighted mean of the values. Three positions with d_k = 4 are few enough to do it by hand, in plain Python.
"""

# %%
display(code(attention_weights, scaled_dot_product_attention))

Q = torch.tensor([[2.0, 0, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0]])  # (3, d_k): the third asks for nothing in particular
K = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 2]])  # (3, d_k)
V = torch.tensor([[1.0, 0], [0, 1], [1, 1]])  # (3, d_v)

by_hand = []
for q in Q.tolist():
    products = [sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(4) for k in K.tolist()]
    weights = [math.exp(product) / sum(map(math.exp, products)) for product in products]
    by_hand.append([sum(w * v[column] for w, v in zip(weights, V.tolist(), strict=True)) for column in range(2)])
    print(
        "q k / sqrt(d_k) =",
        products,
        "  weights",
        [f"{w:.3f}" for w in weights],
        "  result",
        [f"{value:.3f}" for value in by_hand[-1]],
    )
same = torch.allclose(torch.tensor(by_hand), scaled_dot_product_attention(Q, K, V))
print("as computed by the model's function:", same)

# %% [markdown]
r"""
### Why divide by √d_k?

If the components of q and k are independent with variance 1, then q · k has variance d_k (the paper's footnote to
§3.2.1). Large products drive the softmax to a single 1 among zeros, where its gradient vanishes. Measured on random
vectors, with 10 keys a query: without the division, the largest weight goes to 1 and the sensitivity to 0 as d_k grows.
"""

# %%
torch.manual_seed(0)
rows = []
for d_k in (4, 16, 64, 256, 1024):
    q, k = torch.randn(2000, 1, d_k), torch.randn(2000, 10, d_k)
    products = (q @ k.mT).squeeze(1)  # (2000, 10)
    unscaled, scaled = products.softmax(-1), attention_weights(q, k, None).squeeze(1)
    row = [f"{d_k}", f"{products.var():.1f}"]
    for weights in (unscaled, scaled):
        sensitivity = (weights * (1 - weights)).sum(-1).mean()  # how weights move with products
        row += [f"{weights.max(-1).values.mean():.2f}", f"{sensitivity:.2f}"]
    rows.append(row)
columns = ["unscaled: largest weight", "sensitivity", "scaled: largest weight", "sensitivity"]
Markdown(table(["d_k", "variance of q · k", *columns], rows, right=range(6)))

# %% [markdown]
r"""
## 3. Masks (§3.2.3)

A mask says where a query may look; elsewhere the product becomes −∞ and the weight 0. Two masks are needed: *padding*
of the source is never looked at, and in the decoder a position sees only itself and what came before (*causal*),
so that all target words can be trained at once without seeing the answer. The decoder's input is the target shifted
by one, so the position that predicts word t has read the words before t and no other.
"""

# %%
torch.manual_seed(1)
words = torch.randn(1, 6, 4)
causal = torch.ones(6, 6, dtype=torch.bool).tril()
print("weights of six positions under the causal mask; every row sums to 1:")
for row in attention_weights(words, words, causal)[0].tolist():
    print("  ", " ".join(f"{weight:.2f}" if weight else "  . " for weight in row))

sizes = ["N=2", "d_model=24", "d_ff=40", "h=3", "d_k=5", "d_v=7", "P_drop=0.0"]  # all different, so shapes tell
recipe = PAPER.recipe("base", [*sizes, "vocabulary_size=50", "path=readable"])
model = PAPER.build_model(recipe).eval()
source, target = torch.randint(2, 50, (2, 9)), torch.randint(2, 50, (2, 8))
real = torch.tensor([[True] * 9, [True] * 6 + [False] * 3])  # the second sentence has six words
batch = Batch(source, real, target, torch.ones(2, 8, dtype=torch.bool))
with torch.no_grad():
    logits = model(batch)  # (B, T, V)
    target[0, 4] += 1  # another target word y_5
    moved = (model(batch) - logits)[0].abs().amax(-1) > 0
    source[1, 7] += 1  # another padding word
    padding = torch.equal(model(batch)[1], logits[1])
print("\nreplacing y_5 changes the predictions of words", [t + 1 for t in range(8) if moved[t]])
print("replacing padding changes nothing:", padding)

# %% [markdown]
r"""
## 4. Multi-head attention (§3.2.2)

One softmax can look at one thing at a time. So queries, keys and values are projected h times into smaller
spaces, each *head* attends there, and W^O mixes the results. The matrices of all heads lie side by side in one.
With d_k = d/h, h heads cost what one large head would.
"""

# %%
display(code(MultiHeadAttention))
attention = model.encoder[0].self_attention
x = torch.randn(2, 6, 24)  # (B, T, d)
attended = attention.keys_values(x)
for name, tensor in {
    "x                      (B, T, d)": x,
    "queries           (B, h, T, d_k)": attention.queries(x),
    "keys              (B, h, T, d_k)": attended.K,
    "values            (B, h, T, d_v)": attended.V,
    "weights             (B, h, T, T)": attention_weights(attention.queries(x), attended.K, causal),
    "W_O, as stored        (d, h d_v)": attention.W_O.weight,
    "result                 (B, T, d)": attention(x, attended, causal),
}.items():
    print(name, tuple(tensor.shape))
for overrides in (["h=1", "d_k=512", "d_v=512"], ["h=8", "d_k=64", "d_v=64"], ["h=32", "d_k=16", "d_v=16"]):
    count = sum(p.numel() for p in MultiHeadAttention(PAPER.recipe("base", overrides).model).parameters())
    print(f"{' '.join(overrides)}: {count:,} parameters")

# %% [markdown]
r"""
## 5. Feed-forward, residual sum, norm (§3.3, Eq. (2); §3.1, §5.4)

The other sub-layer treats every position by itself: permute the positions and the outputs are permuted alike.
Around each sub-layer goes LayerNorm(x + Dropout(Sublayer(x))). The norm comes *after* the sum ("post-norm"): most
later Transformers moved it inside, and with it added one norm at the top. The paper has neither.
"""

# %%
display(code(FeedForward, AddAndNorm, DecoderLayer.forward))
feed_forward, add_and_norm = model.encoder[0].feed_forward, AddAndNorm(recipe.model)
order = torch.tensor([3, 0, 5, 1, 4, 2])
print("position-wise:", torch.allclose(feed_forward(x[:, order]), feed_forward(x)[:, order], atol=1e-6))
normed = add_and_norm(10 * x, feed_forward(10 * x))
print(
    f"after sum and norm, at each position: mean {normed.mean(-1).abs().max():.3f}, "
    f"standard deviation {normed.std(-1, unbiased=False).mean():.3f}"
)

# %% [markdown]
r"""
## 6. Embeddings and positions (§3.4, §3.5)

One matrix E embeds source words, embeds target words, and turns the decoder's output into logits. Its entries start
with variance 1/d (v1.0), so a looked-up vector is multiplied by √d to bring its entries to size 1, the size
of what is added next: attention alone does not know the order of words, so each position has a vector of its own, a
sine and a cosine of every wavelength from 2π to nearly 10000 · 2π.
"""

# %%
display(code(Transformer._embed, sinusoids))
base = PAPER.recipe("base")
E = PAPER.build_model(PAPER.recipe("base", ["N=1", "vocabulary_size=1000"])).E.detach()  # (V, d)
PE = sinusoids(100, base.model.d_model)  # (position, d)


def root_mean_square(tensor):
    return f"{tensor.square().mean().sqrt():.3f}"


print(
    "root mean square: rows of E",
    root_mean_square(E),
    "| times sqrt(d)",
    root_mean_square(E * math.sqrt(base.model.d_model)),
    "| positions",
    root_mean_square(PE),
)

drawing = Figure(figsize=(9, 3.2), layout="constrained")
left, right = drawing.subplots(1, 2, width_ratios=(3, 2))
image = left.imshow(PE[:, :128], cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
drawing.colorbar(image, ax=left)
left.set(xlabel="component (the first 128 of 512)", ylabel="position", title="PE(pos, i)")
for position, colour in zip((20, 50, 80), COLOURS[:3], strict=True):
    right.plot(PE @ PE[position], color=colour)
right.set(xlabel="position", title="positions 20, 50, 80: dot product with all")
right.title.set_fontsize(10)
right.spines[["top", "right"]].set_visible(False)
drawn(drawing, "Heat map of the position vectors, and dot products that peak where two positions are the same")

# %% [markdown]
r"""
Left: fast waves in the first components, slow ones further on. Right: the product of two position vectors depends on
their distance alone, and nearness is easy to see. The paper's reason for the sinusoids is that shifting a position by
k is a
fixed linear map: each sine-cosine pair turns by the same angle wherever it starts.

## 7. Counting parameters: 63 million or 65?

With the 37,000 sub-words of §5.1 and no biases in the attention (§3.2.2), base has 63,045,632 parameters. Table 3
prints
65 million. v1.0 explains it: its embedding had 40,960 rows and its projections had biases. With both, all of Table 3's
printed counts come out, except for big.
"""

# %%
counts = parameter_counts(PAPER, base)
rows = [[name, f"{count:,}"] for name, count in counts.items()]
rows.append(["**total**", f"**{sum(counts.values()):,}**"])
assert sum(counts.values()) == 63_045_632
display(Markdown(table(["block of base", "parameters"], rows, right=(1,))))


def millions(name, *overrides):
    return sum(parameter_counts(PAPER, PAPER.recipe(name, overrides)).values()) / 1e6


rows, agree = [], 0
for name, row in reported["table3"]["rows"].items():
    if "params" in row:
        v1 = millions(name, "vocabulary_size=40960", "attention_bias=true")
        rows.append([row["label"], str(row["params"]), f"{millions(name):.2f}", f"{v1:.2f}"])
        agree += round(v1) == row["params"]
print(f"with v1.0's rows and biases, rounded, {agree} of the {len(rows)} printed counts come out:")
Markdown(
    table(
        ["Table 3, in millions", "paper prints", "its equations, V = 37,000", "with v1.0's rows and biases"],
        rows,
        right=(1, 2, 3),
    )
)

# %% [markdown]
r"""
## 8. The learning rate (§5.3, Eq. (3))

Adam's rate rises in proportion to the step for 4,000 updates and then falls with its square root. Larger models get
smaller rates, by d^−0.5.
"""

# %%
display(code(learning_rate))
drawing = Figure(figsize=(6, 2.6), layout="constrained")
axes = drawing.subplots()
steps = range(1, 40001, 50)
for name, colour in zip(("base", "big"), COLOURS[:2], strict=True):
    plan = PAPER.recipe(name)
    d, warmup = plan.model.d_model, plan.optimizer.warmup_steps
    axes.plot(steps, [1e4 * learning_rate(step, d, warmup) for step in steps], color=colour, label=f"{name}, d = {d}")
    marks = (1, warmup, plan.train.steps)  # the first step, the peak, the last step
    print(f"{name}:", ", ".join(f"step {step:,} {learning_rate(step, d, warmup):.3e}" for step in marks))
axes.set(xlabel="step", ylabel="learning rate × 10⁴", ylim=(0, None), xlim=(0, 40000))
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
drawn(drawing, "Learning rate of base and big: a straight rise to step 4,000, then a slow fall")

# %% [markdown]
r"""
## 9. Label smoothing (§5.4)

The model is trained towards a target that is only 90% sure: ε = 0.1 is shared by the V − 1 other words (v1.0;
PyTorch's own
option shares it among all V). The best possible loss is then not 0 but the entropy of that target, so perplexity
suffers, and a model that is *too* sure pays more.
"""

# %%
display(code(cross_entropy_sum))
size, epsilon = 5, base.train.label_smoothing
right_word, one, yes = 2, torch.tensor([[2]]), torch.tensor([[True]])
goal = torch.full((size,), epsilon / (size - 1))
goal[right_word] = 1 - epsilon
print("target for word 2 of 5:", [f"{p:.3f}" for p in goal.tolist()])
for sure in (0.5, 0.9, 0.999):
    predicted = torch.full((size,), (1 - sure) / (size - 1))
    predicted[right_word] = sure
    by_hand = -(goal * predicted.log()).sum()
    loss = cross_entropy_sum(predicted.log().view(1, 1, -1), one, yes, epsilon)
    plain = cross_entropy_sum(predicted.log().view(1, 1, -1), one, yes)
    print(f"predicting it with {sure}: loss {loss:.3f} (by hand {by_hand:.3f}), without smoothing {plain:.3f}")
V = base.text.vocabulary_size
floor = -(1 - epsilon) * math.log(1 - epsilon) - epsilon * math.log(epsilon / (V - 1))
print(f"lowest possible loss at V = {V:,}: {floor:.5f} nats a token")

# %% [markdown]
r"""
## 10. Training and decoding are the same computation

Training calls the decoder on all words at once; decoding calls it on one word, with the keys and values of the
earlier ones kept in the state. Both go through the same lines, and give the same logits.
"""

# %%
display(code(Transformer._decode))
with torch.no_grad():
    state, stepped = model.encode(batch.source, batch.source_mask), []
    for t, previous in enumerate(batch.previous.unbind(1), start=1):
        next_word, state = model.step(previous, state)  # (B, V)
        stepped.append(next_word)
        if t in (1, 2, 8):
            print(f"after word {t}: each of {len(state.past)} layers keeps K of shape {tuple(state.past[0].K.shape)}")
    print("step by step equals forward:", torch.allclose(torch.stack(stepped, 1), model(batch), atol=1e-5))

# %% [markdown]
r"""
### Watch it learn to look

A toy task of our own: write the words of a sentence in reverse order. One layer and some seconds of training with
Eq. (3) (500 updates, 100 of warm-up, half its rate) are enough. Drawn is the decoder's attention to the source, one
panel a head; white is 1. Heads divide the work as they like, but together they must find the mirror image.
"""

# %%
toy = PAPER.recipe(
    "base",
    [
        "N=1",
        "d_model=32",
        "d_ff=64",
        "h=4",
        "d_k=8",
        "d_v=8",
        "P_drop=0.0",
        "warmup_steps=100",
        "factor=0.5",
        "vocabulary_size=12",
        "path=readable",
    ],
)
torch.manual_seed(3)
learner, draw = PAPER.build_model(toy), torch.Generator().manual_seed(0)
optimization = PAPER.build_optimization(learner, toy)


def reversal(sentences, length):
    words = torch.rand(sentences, 10, generator=draw).argsort(1)[:, :length] + 2  # ten words, none twice
    end, seen = torch.full((sentences, 1), EOS), torch.ones(sentences, length + 1, dtype=torch.bool)
    return Batch(torch.cat([words, end], 1), seen, torch.cat([words.flip(1), end], 1), seen)


for update in range(1, 501):
    task = reversal(64, 3 + update % 4)
    optimization.optimizer.param_groups[0]["lr"] = optimization.learning_rate(update)
    optimization.optimizer.zero_grad()
    (cross_entropy_sum(learner(task), task.target, task.target_mask) / task.target.numel()).backward()
    optimization.optimizer.step()

learner.eval()
test = reversal(100, 6)
found = beam_search(learner, test.source, test.source_mask, toy.decode)
print("source    ", test.source[0, :-1].tolist())
print("hypothesis", list(found[0][0].tokens))
right_ones = sum([*best[0].tokens] == wanted[:-1] for best, wanted in zip(found, test.target.tolist(), strict=True))
print("at least 80 of 100 new sentences reversed without a fault:", right_ones >= 80)

maps = learner.attention_maps(test).source[0, 0]  # (h, T, S)
names = ["abcdefghij"[word - 2] if word > 1 else "</s>" for word in test.source[0].tolist()]
drawing = Figure(figsize=(9, 2.4), layout="constrained")
for number, (axes, weights) in enumerate(zip(drawing.subplots(1, 4), maps, strict=True), start=1):
    axes.imshow(weights, cmap="gray", vmin=0, vmax=1)
    axes.set_xticks(range(7), names)
    axes.set_yticks(range(7), [*names[-2::-1], "</s>"])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    axes.set_xlabel(f"head {number}")
drawn(drawing, "Attention of four heads to the source: bright near the diagonal from upper right to lower left")

# %% [markdown]
r"""
## 11. What our runs found

The demo (`./reproduce.sh demo vaswani2017`) trains small models on **generated** text and scores them. What follows is
built by [`tables.py`](tables.py) from the results committed in `results/demo/`; our numbers and the paper's are on
different text and from models of different size, so compare within a column.

Tables 2 and 3 stand beside the paper's, then the encoder's self-attention on a sentence of the test set (the
paper's Figures 3 to 5; rules, not eyes, pick the heads), then what the paper concludes, decided by code on these runs.
"""

# %%
show(committed(PAPER, "demo"), "Table 2", "Table 3", "Figure", "Claims")

# %% [markdown]
r"""
## Where to go from here

- [`model.py`](model.py), the whole model in the order of §3; [`README.md`](README.md) for open questions and every
  deviation.
- [`recipes/wmt14/base.yaml`](recipes/wmt14/base.yaml): each hyperparameter with its source; every row of Table 3 is a
  recipe beside it.
- [The notebook of the other paper](../bahdanau2014/notebook.ipynb), where attention was still a helper of recurrence.
"""
