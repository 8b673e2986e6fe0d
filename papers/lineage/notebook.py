# %% [markdown]
r"""
# From RNNsearch to the Transformer

Between *Neural Machine Translation by Jointly Learning to Align and Translate* (September 2014) and *Attention Is
All You Need* (June 2017) lies one idea that was had several times: a **weighted average whose weights depend on the
data**. This notebook writes it down once, in [`attention.py`](attention.py), and shows each paper's form of it as a
call of that one function. For the papers of [2014](../bahdanau2014/model.py) and
[2017](../vaswani2017/model.py) a check shows that our model computes the same. Then the path from the first model
to the last is walked in steps, each trained and scored.

1. [One function](#1-One-function): kernel regression, 1964
2. [The score of RNNsearch](#2-The-score-of-RNNsearch)
3. [Dot products, and why they are scaled](#3-Dot-products,-and-why-they-are-scaled)
4. [Several heads](#4-Several-heads)
5. [A set, and why positions are needed](#5-A-set,-and-why-positions-are-needed)
6. [The two-layer perceptron as attention](#6-The-two-layer-perceptron-as-attention)
7. [Neural Turing Machines](#7-Neural-Turing-Machines): addressing by content
8. [Memory Networks](#8-Memory-Networks)
9. [Without the softmax](#9-Without-the-softmax): fast weights, 1992
10. [Who had it when](#10-Who-had-it-when), and why it is called attention
11. [The steps, trained](#11-The-steps,-trained)
12. [The two ends, on real text](#12-The-two-ends,-on-real-text)

Each section has a line to change (marked `# change me`), a check, and an exercise. A line with ✓ is an assertion that
held when the notebook ran. Letters: $T$ queries, $S$ keys and as many values, $d$ the size of a key.
"""

# %%
import sys
import tempfile
from pathlib import Path

# The repository's root is the folder above this notebook that holds papers/.
sys.path.insert(0, str(next(up for up in Path("notebook.ipynb").resolve().parents if (up / "papers").is_dir())))

from dataclasses import replace
from itertools import pairwise

import torch
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from common.contract import Batch, pad
from common.ids import EOS
from common.markdown import table, without_columns
from common.report.notebook import check, code, committed, drawn, equations, exercise, show
from common.report.page import COLOURS
from common.report.results import read_results
from common.report.variants import lately
from papers.bahdanau2014.figures import draw_weights
from papers.bahdanau2014.model import AlignmentModel, RNNsearch
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.lineage.attention import (
    additive,
    attend,
    by_location,
    cosine,
    dot,
    gaussian,
    hardest,
    scaled_dot,
    softmax,
)
from papers.lineage.deletion.model import STEPS, Between, ScaledDotProduct
from papers.lineage.deletion.paper import PAPER as LADDER
from papers.lineage.deletion.tables import BLEU, CHANGES, from_before
from papers.lineage.pages import build_page
from papers.vaswani2017.model import (
    FeedForward,
    MultiHeadAttention,
    Transformer,
    attention_weights,
    scaled_dot_product_attention,
    sinusoids,
)
from papers.vaswani2017.paper import PAPER as VASWANI

torch.set_num_threads(1)  # fastest at these sizes
torch.set_grad_enabled(False)  # nothing is trained here


def near(a, b, tolerance=1e-5):
    return (a - b).abs().max() <= tolerance


def bare(*panels):
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)


display(Markdown(f"- {BAHDANAU.citation}: *{BAHDANAU.title}*\n- {VASWANI.citation}: *{VASWANI.title}*"))

# %% [markdown]
r"""
## 1 One function

Given a query $q$, and keys $k_1 \dots k_S$ with a value $v_j$ each: score every key against the query, turn the
scores into weights, average the values.

$$ e_j = \mathrm{score}(q, k_j), \qquad \alpha = \mathrm{weigh}(e_1 \dots e_S), \qquad
\mathrm{attend}(q) = \sum_{j=1}^{S} \alpha_j v_j $$

A plain mean has the same weights for everything. A linear layer has weights that were learned and are then the same
for every input. Here the weights are computed from the data each time, so what is averaged depends on what is
asked. With the softmax as `weigh` they are positive and sum to 1:

$$ \alpha_j = \frac{\exp(e_j)}{\sum_{k=1}^{S} \exp(e_k)} $$
"""

# %%
code(attend, softmax)

# %% [markdown]
r"""
The oldest case has nothing to learn. E. Nadaraya and G. Watson (both 1964) estimate a curve from points $(x_j,
y_j)$: at a place $x$ they average the $y_j$, and nearer points count more. The place is the query, the $x_j$ are
the keys, the $y_j$ are the values, and a Gaussian kernel is a score under a softmax:

$$ e_j = -\frac{(x - x_j)^2}{2 w^2} $$
"""

# %%
width = 0.25  # change me: from 0.02 (follows every point) to 3 (a plain mean)

draw = torch.Generator().manual_seed(1)
x = torch.sort(torch.rand(40, 1, generator=draw) * 6, dim=0).values  # (S, 1): keys
y = torch.sin(x) + 0.25 * torch.randn(40, 1, generator=draw)  # (S, 1): values
places = torch.linspace(0, 6, 200).unsqueeze(1)  # (T, 1): queries
estimate = attend(places, x, y, gaussian(width))  # (T, 1)

drawing = Figure(figsize=(9, 2.9), layout="constrained")
left, right = drawing.subplots(1, 2, sharex=True)
left.plot(x, y, "o", color="#888888", markersize=4)
for w, colour in zip((0.05, width, 2.0), COLOURS[:3], strict=True):
    left.plot(places, attend(places, x, y, gaussian(w)), color=colour, label=f"w = {w:g}")
    right.plot(x, softmax(gaussian(w)(torch.tensor([[3.0]]), x))[0], ".-", color=colour)
left.set(xlabel="x", title="the average at each place")
right.set(xlabel="x of the point", title="its weights at x = 3")
left.legend(frameon=False)
bare(left, right)
display(drawn(drawing, "Kernel regression with three widths: a ragged, a smooth and a flat curve, and their weights"))
check(
    ((estimate >= y.min()) & (estimate <= y.max())).all(), "An average stays between the least and the largest value."
)

# %% [markdown]
r"""
**Exercise.** The wider the kernel, the less the weights differ. What does `attend` return for *any* query as
$w \to \infty$? Write it without `attend`.
"""

# %%
yours = None  # a tensor of shape (1,), made from y
exercise(yours, attend(torch.zeros(1, 1), x, y, gaussian(1e6))[0])

# %% [markdown]
r"""
## 2 The score of RNNsearch

Bahdanau et al. *learn* the score. A network with one hidden layer compares the decoder's state $s_{i-1}$, the
query, with each annotation $h_j$ of the source. The annotations are both keys and values. These are the paper's
equations, and the lines of [`model.py`](../bahdanau2014/model.py) that compute them:
"""

# %%
equations(
    AlignmentModel.forward,
    {
        "e =": r"e_{ij} = v_a^\top \tanh(W_a s_{i-1} + U_a h_j)",
        "alpha =": r"\alpha_{ij} = \frac{\exp(e_{ij})}{\sum_{k=1}^{T_x} \exp(e_{ik})}",
        "c =": r"c_i = \sum_{j=1}^{T_x} \alpha_{ij} h_j",
    },
)

# %%
n, length = 8, 6  # change me: units of a state, words of the source

torch.manual_seed(2)
recipe = BAHDANAU.recipe("rnnsearch-50", [f"hidden={n}", "alignment=12", "biases=none"])
align = AlignmentModel(recipe.model)
for matrix in align.parameters():
    nn.init.normal_(matrix)  # an untrained model weighs all words alike
s, h = torch.randn(1, n), torch.randn(1, length, 2 * n)  # the query, and an annotation for each word
c, alpha = align(s, align.prepare(h, torch.ones(1, length, dtype=torch.bool)))  # our model of the paper

display(code(additive))
same = attend(s, h[0], h[0], additive(align.W_a, align.U_a, align.v_a))  # the one function
check(near(c, same), "RNNsearch's context vector is `attend` with the additive score.")

# %% [markdown]
r"""
Trained, the weights say which source words a target word was made from. Below are those of our small RNNsearch-50 on
Europarl ([the page](../bahdanau2014/results/europarl-small/tables.md)) for a sentence of the paper's Figure 3: a row
for each query, a column for each key, white is 1. The training was short, so many rows are blurred, and some look a
word too far left.
"""

# %%
example = read_results(BAHDANAU.root / "results" / "europarl-small")["rnnsearch-50"].attention[0]
drawing = Figure(figsize=(6.4, 5.2), layout="constrained")
draw_weights(drawing.subplots(), example.weights("source"), example.source, example.target, labels=8)
drawn(drawing, "Alignment of an English sentence with its French translation, mostly along the diagonal")

# %% [markdown]
r"""
**Exercise.** The paper's $v_a$ begins at zero (Appendix B.1). Which context vector does an untrained RNNsearch
compute from `h`, whatever the state?
"""

# %%
yours = None  # a tensor of shape (2n,), made from h
exercise(yours, attend(s, h[0], h[0], additive(align.W_a, align.U_a, 0 * align.v_a))[0])

# %% [markdown]
r"""
## 3 Dot products, and why they are scaled

A hidden layer for every pair of query and key is a lot of work. Luong et al. (August 2015) try simpler scores, among
them the dot product; Vaswani et al. divide it by $\sqrt{d_k}$ (Eq. (1)):

$$ e_j = q \cdot k_j \qquad\text{or}\qquad e_j = \frac{q \cdot k_j}{\sqrt{d_k}}, \qquad
\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V $$

All pairs are then one matrix product. Keys and values need not be the same any more.
"""

# %%
display(code(dot, scaled_dot, attention_weights, scaled_dot_product_attention))
torch.manual_seed(3)
Q, K, V = torch.randn(5, 16), torch.randn(7, 16), torch.randn(7, 4)
theirs = scaled_dot_product_attention(Q, K, V)
check(near(theirs, attend(Q, K, V, scaled_dot)), "The Transformer's Eq. (1) is `attend` with the scaled dot product.")
K_unit = F.normalize(K, dim=-1)
kernel = attend(Q, K_unit, V, gaussian(16**0.25))
check(
    near(kernel, scaled_dot_product_attention(Q, K_unit, V)),
    "For keys of equal length it is kernel regression with a Gaussian of width $w = d_k^{1/4}$ (section 1).",
)

# %% [markdown]
r"""
The last check holds because $-\frac{1}{2 w^2} |q - k|^2 = \frac{1}{w^2} q \cdot k - \frac{1}{2 w^2} (|q|^2 +
|k|^2)$, and a softmax does not feel what is the same for all keys. So what a score *prefers* can be drawn: below
the query is the dot, and a key is scored higher where it is darker. Nearness prefers keys like the query, the dot
product those that are long and point the same way, the cosine (section 7) the direction alone, and the network of
RNNsearch whatever it has learned, here nothing yet: its weights are random.
"""

# %%
query = torch.tensor([[1.0, 0.6]])  # change me: two numbers between -2 and 2

torch.manual_seed(9)
scores = {
    "nearness, 1964": gaussian(1.0),
    "additive, 2014 (random weights)": additive(torch.randn(12, 2), torch.randn(12, 2), torch.randn(12)),
    "cosine, 2014": cosine(2.0),
    "dot product, 2015": dot,
}
axis = torch.linspace(-2, 2, 81)
grid = torch.cartesian_prod(axis, axis)  # (81 x 81, 2): a key at every place of the plane
drawing = Figure(figsize=(10, 2.8), layout="constrained")
for axes, (name, score) in zip(drawing.subplots(1, 4, sharey=True), scores.items(), strict=True):
    axes.contourf(axis, axis, score(query, grid).view(81, 81).T, levels=12, cmap="Blues")
    axes.plot(*query[0], "o", color=COLOURS[1])
    axes.set(title=name, aspect="equal")
    axes.title.set_fontsize(9)
drawn(drawing, "Contours of four scores over the plane: rings, a curved slope, a fan, and a straight slope")

# %% [markdown]
r"""
**Why scaled.** If the components of $q$ and $k$ are independent with variance 1, $q \cdot k$ has variance $d_k$.
With large $d_k$ one product then towers above the others, and the softmax gives it nearly all the weight. Drawn is
how many of 10 random keys a query effectively looks at, $\exp(-\sum_j \alpha_j \log \alpha_j)$, from 1 to 10.
"""

# %%
keys = 10  # change me

torch.manual_seed(4)
sizes, looked_at = (4, 16, 64, 256, 1024), {"dot": [], "scaled dot": []}
for d in sizes:
    many_q, many_k = torch.randn(2000, 1, d), torch.randn(2000, keys, d)
    for name, score in (("dot", dot), ("scaled dot", scaled_dot)):
        weights = softmax(score(many_q, many_k))
        looked_at[name].append(torch.special.entr(weights).sum(-1).mean().exp().item())
drawing = Figure(figsize=(5.2, 2.6), layout="constrained")
axes = drawing.subplots()
for (name, numbers), colour in zip(looked_at.items(), COLOURS[1::-1], strict=False):
    axes.plot(sizes, numbers, "o-", color=colour, label=name)
axes.set(xscale="log", xlabel="$d_k$", ylabel="keys looked at", ylim=(0, keys))
axes.set_xticks(sizes, map(str, sizes))
axes.legend(frameon=False)
bare(axes)
display(drawn(drawing, "Without scaling the number of keys looked at falls to one as d grows; with it, it stays"))
check(looked_at["dot"][-1] < 1.2, "Without the scale a query of size 1024 looks at hardly more than one key.")

# %% [markdown]
r"""
**Exercise.** Get the scaled weights out of `dot` by changing the queries alone.
"""

# %%
yours = None  # softmax(dot(..., K))
exercise(yours, attention_weights(Q, K, None))

# %% [markdown]
r"""
## 4 Several heads

One average cannot keep two things apart: from two words with half the weight each comes their mean. So Vaswani et
al. call the function $h$ times, on projections of their own, and let a matrix mix the results (§3.2.2):

$$ \mathrm{head}_i = \mathrm{attend}(Q W_i^Q,\; K W_i^K,\; V W_i^V), \qquad
\mathrm{MultiHead} = \mathrm{Concat}(\mathrm{head}_1 \dots \mathrm{head}_h)\, W^O $$

Lin et al. (March 2017) had several averages side by side too, to describe a sentence by more than one vector. Their
queries are learned constants.
"""

# %%
h = 4  # change me: 1, 2, 4 or 8

torch.manual_seed(5)
d = 16
sizes = replace(VASWANI.recipe("base").model, d_model=d, h=h, d_k=d // h, d_v=d // h)
heads = MultiHeadAttention(sizes)
for matrix in heads.parameters():
    nn.init.normal_(matrix, std=0.6)
words = torch.randn(1, 6, d)  # (B, T, d)
theirs = heads(words, heads.keys_values(words), None)[0]

q, k, v = heads.W_Q(words)[0], heads.W_K(words)[0], heads.W_V(words)[0]  # (T, d): the heads side by side
own = [slice(i * d // h, (i + 1) * d // h) for i in range(h)]
found = [attend(q[:, part], k[:, part], v[:, part], scaled_dot) for part in own]
display(code(MultiHeadAttention.forward))
check(near(theirs, heads.W_O(torch.cat(found, 1)), 1e-5), f"Multi-head attention is `attend`, {h} times.")

drawing = Figure(figsize=(2.3 * h, 3.0), layout="constrained")
panels = drawing.subplots(1, h, squeeze=False)[0]
for i, (axes, part) in enumerate(zip(panels, own, strict=True), start=1):
    axes.imshow(softmax(scaled_dot(q[:, part], k[:, part])), cmap="gray", vmin=0, vmax=1)
    axes.set(title=f"head {i}", xticks=[], yticks=[], xlabel="key")
panels[0].set_ylabel("query")
drawn(drawing, "Weights of each head on the same six positions: each looks elsewhere")

# %% [markdown]
r"""
**Exercise.** Concatenation and $W^O$ are a sum in disguise: with $W^O_i$ the columns of `heads.W_O.weight` that
belong to head $i$, the result is $\sum_i \mathrm{head}_i (W^O_i)^\top$. Compute it as that sum.
"""

# %%
yours = None  # sum(... for head, part in zip(found, own, strict=True)), a tensor of shape (6, d)
exercise(yours, theirs)

# %% [markdown]
r"""
## 5 A set, and why positions are needed

A sum does not know in which order it was taken. Permute the keys with their values, and nothing changes; permute the
queries, and the results are permuted alike. To attention a sentence is a *set* of words: for a permutation $P$,

$$ \mathrm{attend}(Q, P K, P V) = \mathrm{attend}(Q, K, V), \qquad
\mathrm{attend}(P Q, K, V) = P\,\mathrm{attend}(Q, K, V) $$
"""

# %%
torch.manual_seed(6)
Q, K, V, order = torch.randn(3, 4), torch.randn(6, 4), torch.randn(6, 2), torch.randperm(6)
five = (gaussian(1.0), additive(*torch.randn(2, 5, 4), torch.randn(5)), cosine(3.0), dot, scaled_dot)
same = [near(attend(Q, K[order], V[order], score), attend(Q, K, V, score)) for score in five]
check(all(same), "Permuting the keys with their values changes nothing, for any of five scores.")
turn = torch.tensor([2, 0, 1])  # change me: another order of the queries
turned = [near(attend(Q[turn], K, V, score), attend(Q, K, V, score)[turn]) for score in five]
check(all(turned), "Permuting the queries permutes the results alike.")

# %% [markdown]
r"""
RNNsearch never met the problem, because its annotations come from recurrent networks, which read the words in
order. A Transformer has only attention and layers that treat each word alone. Without positions, its whole encoder
would give *dog* the same vector in both sentences below. So it adds a vector for each place to each word (§3.5):

$$ PE_{(pos, 2i)} = \sin\!\left(pos / 10000^{2i/d}\right), \qquad
PE_{(pos, 2i+1)} = \cos\!\left(pos / 10000^{2i/d}\right) $$

The encoder here has two layers of random weights. Its weights in the first layer are drawn with and without
positions.
"""

# %%
sentences = ["the dog bit the man", "the man bit the dog"]  # change me: the same words in another order

torch.manual_seed(7)
tiny = ["N=2", "d_model=32", "d_ff=64", "h=1", "d_k=32", "d_v=32", "P_drop=0", "vocabulary_size=40", "path=readable"]
reader = VASWANI.build_model(VASWANI.recipe("base", tiny)).eval()
reader.encoder[0].self_attention.W_Q.weight.mul_(4)  # random weights look at all alike; these differ more
vocabulary = {word: number for number, word in enumerate(sorted(set(" ".join(sentences).split())), start=2)}
rows = torch.tensor([[vocabulary[word] for word in sentence.split()] for sentence in sentences])  # (2, S)
batch = Batch(rows, torch.ones_like(rows, dtype=torch.bool), rows, torch.ones_like(rows, dtype=torch.bool))
keys, maps = {}, {}
for name, places in (("without", torch.zeros_like(reader.source_positions.PE)), ("with", sinusoids(256, 32).float())):
    reader.source_positions.PE = places
    keys[name] = reader.encode(rows, batch.source_mask).source[0].K[:, 0]  # (2, S, d): what the decoder would look at
    maps[name] = reader.attention_maps(batch).encoder[0, :, 0]  # (2, S, S): the first layer's weights

dog = [sentence.split().index("dog") for sentence in sentences]
drawing = Figure(figsize=(9.6, 2.9), layout="constrained")
panels = drawing.subplots(1, 4)
for axes, (name, row) in zip(panels, ((name, row) for name in maps for row in (0, 1)), strict=True):
    labels = sentences[row].split()
    draw_weights(axes, maps[name][row], labels, labels, labels=8)
    axes.set_xlabel(f"{name} positions")
display(drawn(drawing, "Self-attention on two sentences of the same words: without positions the same weights, moved"))
apart = {name: (found[0, dog[0]] - found[1, dog[1]]).abs().max() for name, found in keys.items()}
check(apart["without"] < 1e-5, "Without positions *dog* is the same vector, whether it bites or is bitten.")
check(apart["with"] > 0.1, "With positions it is not.")

# %% [markdown]
r"""
**Exercise.** The sinusoids make it easy to look one word back: there is a matrix $M$, the same for every position,
with $PE_{pos}\, M = PE_{pos - 1}$. Find it. (Each pair of sine and cosine turns by a fixed angle. Or ask
`torch.linalg.lstsq`.)
"""

# %%
places = sinusoids(20, 8)  # (20, 8)
M = None  # a tensor of shape (8, 8)
exercise(None if M is None else places[1:] @ M.to(places), places[:-1])

# %% [markdown]
r"""
## 6 The two-layer perceptron as attention

The other half of a Transformer's layer is a perceptron with one hidden layer. It, too, is a weighted sum of
vectors, and it attends over parameters: queries and values do not depend on the data. The first layer's weights are
the queries, the input is the key, the second layer's weights are the values, and an elementwise non-linearity stands
where the softmax was, without normalisation.

$$ \mathrm{FFN}(x) = \max(0,\, x W_1 + b_1)\, W_2 + b_2
= \sum_{i=1}^{d_{ff}} \underbrace{\max(0,\; q_i \cdot x + b_{1,i})}_{\text{weight}}\; v_i \;+\; b_2 $$

Here $q_i$ is column $i$ of $W_1$ (a row of `nn.Linear`'s weight) and $v_i$ is row $i$ of $W_2$.
"""

# %%
d, units = 12, 48  # change me

torch.manual_seed(8)
first, second = nn.Linear(d, units).double(), nn.Linear(units, d).double()
x = torch.randn(9, d).double()  # nine positions
queries, values = first.weight, second.weight.T  # (units, d) each: nothing of them depends on x
weights = F.relu(dot(queries, x) + first.bias.unsqueeze(1))  # (units, 9): of each query on each key
perceptron = second(F.relu(first(x)))  # two nn.Linear layers
check(near(weights.T @ values + second.bias, perceptron, 1e-6), "Two `nn.Linear` layers, to 1e-6.")

# %% [markdown]
r"""
The sum runs over the queries here and over the keys everywhere else. A dot product is the same from both sides, so
the roles may be exchanged: with the input as the query and the first layer's weights as keys it is one call of
`attend`. That is how Sukhbaatar et al. (*Augmenting Self-attention with Persistent Memory*,
[2019](https://arxiv.org/abs/1907.01470)) and Geva et al. (*Transformer Feed-Forward Layers Are Key-Value Memories*,
[2020](https://arxiv.org/abs/2012.14913)) read it. The Transformer's authors had seen it themselves. The
[TeX source](https://arxiv.org/e-print/1706.03762) of their paper holds an appendix, *Two Feed-Forward Layers =
Attention over Parameters*, and tensor2tensor the code, `parameter_attention` in
[`common_attention.py`](https://github.com/tensorflow/tensor2tensor/blob/master/tensor2tensor/layers/common_attention.py).
"""

# %%


def biased_dot(Q, K):
    return dot(Q, K) + first.bias


check(
    near(attend(x, queries, values, biased_dot, F.relu) + second.bias, perceptron, 1e-6),
    "One call of `attend`, to 1e-6.",
)
feed_forward = FeedForward(replace(VASWANI.recipe("base").model, d_model=d, d_ff=units)).double()
feed_forward.W_1.load_state_dict(first.state_dict())
feed_forward.W_2.load_state_dict(second.state_dict())
check(
    near(feed_forward(x.unsqueeze(0))[0], perceptron, 1e-6), "And so is the Transformer's feed-forward layer, Eq. (2)."
)

axis = torch.linspace(-2, 2, 200).unsqueeze(1)  # an input of one number
torch.manual_seed(1)
line = nn.Linear(1, 14)
nn.init.uniform_(line.weight, -3, 3)
nn.init.uniform_(line.bias, -3, 3)
drawing = Figure(figsize=(9, 2.8), layout="constrained")
panels = drawing.subplots(1, 2, sharey=True)
for axes, name, weigh in zip(
    panels, ("max(0, ·): each for itself", "softmax: they compete"), (F.relu, softmax), strict=True
):
    axes.imshow(weigh(line(axis)).T, aspect="auto", cmap="Blues", extent=(-2, 2, 14, 0), interpolation="nearest")
    axes.set(xlabel="x", title=name, yticks=[])
panels[0].set_ylabel("hidden unit")
drawn(drawing, "Weights of fourteen hidden units as the input moves: with max(0) many at once, with softmax few")

# %% [markdown]
r"""
What differs, then, is the normalisation (units do not compete, and the weights need not sum to 1), and where keys
and values come from: learned and fixed in number here, computed from the other words there. That is why only
attention can move something from one word to another.

**Exercise.** Make the units compete: attention over the parameters `queries` and `values`, with a softmax and no
bias.
"""

# %%
yours = None  # attend(...), a tensor of shape (9, d)
exercise(yours, softmax(x @ queries.T) @ values)

# %% [markdown]
r"""
## 7 Neural Turing Machines

A month after RNNsearch, A. Graves, G. Wayne and I. Danihelka (October 2014) gave a network a memory $M$ of $N$
rows, which it reads and writes at weighted places. Part of the address is *by content*: the controller emits a key
$k$ and a strength $\beta$, and

$$ w^c_i = \frac{\exp(\beta\, K[k, M_i])}{\sum_j \exp(\beta\, K[k, M_j])}, \qquad K[u, v] = \frac{u \cdot v}{|u|\,|v|},
\qquad r = \sum_i w_i M_i $$

Their "key" is our query; the rows of the memory are keys and values.
"""

# %%
beta = 5.0  # change me: from 0 (a plain mean) to 100 (one row)

torch.manual_seed(10)
memory, key = torch.randn(8, 6), torch.randn(1, 6)
similar = torch.stack([key[0] @ row / (key.norm() * row.norm()) for row in memory])  # the formula, row by row
by_hand = (beta * similar).exp() / (beta * similar).exp().sum() @ memory
display(code(cosine))
check(
    near(attend(key, memory, memory, cosine(beta))[0], by_hand, 1e-5), "Reading by content is `attend` with the cosine."
)

# %% [markdown]
r"""
**What differs.** First, the strength: the cosine is at most 1, so a factor must say how sharp the weights may be
($1/\sqrt{d_k}$ is such a factor too, but fixed). Second, the memory is *written*, with weights of the same kind.
Third, the address goes on *by location*. It is mixed with the weights of the step before, shifted to neighbouring
rows, and sharpened:

$$ w^g = g\, w^c + (1 - g)\, w_{t-1}, \qquad \tilde w_i = \sum_j w^g_j\, s_{i - j}, \qquad
w_i = \frac{\tilde w_i^{\,\gamma}}{\sum_j \tilde w_j^{\,\gamma}} $$

So rows have an order there, and the machine can step from one to the next. Neither RNNsearch nor the Transformer
has that.
"""

# %%
gate, shift, sharpness = 0.4, torch.tensor([0.0, 0.2, 0.8]), 3.0  # change me: shares of the shifts -1, 0, +1

before = F.one_hot(torch.tensor(2), 8).float()  # the step before read row 2
content = softmax(cosine(beta)(key, memory))[0]
stages = by_location(content, before, gate, shift, sharpness)
drawing = Figure(figsize=(9.6, 2.2), layout="constrained")
for axes, (name, weights) in zip(
    drawing.subplots(1, 5, sharey=True), {"the step before": before, **stages}.items(), strict=True
):
    axes.bar(range(8), weights, color=COLOURS[0])
    axes.set(title=name, xlabel="row of the memory", ylim=(0, 1), xticks=range(8))
    axes.title.set_fontsize(10)
    bare(axes)
display(code(by_location), drawn(drawing, "Weights over eight rows after each stage of addressing"))
check(all(abs(weights.sum() - 1) < 1e-5 for weights in stages.values()), "Each stage leaves weights that sum to 1.")

# %% [markdown]
r"""
**Exercise.** Choose gate and shift so that the machine ignores the content and moves on from row 2 to row 3.
"""

# %%
yours_gate, yours_shift = None, None  # a number and three shares
done = yours_gate is not None and yours_shift is not None
exercise(
    by_location(content, before, yours_gate, torch.as_tensor(yours_shift), 1.0)["sharpened"] if done else None,
    F.one_hot(torch.tensor(3), 8).float(),
)

# %% [markdown]
r"""
## 8 Memory Networks

J. Weston, S. Chopra and A. Bordes (October 2014) answer questions about a story from a memory of its sentences. Their
network takes the *best* match, and then perhaps the best match for question and first find together:

$$ o_1 = \arg\max_i\, s_O(q, m_i), \qquad o_2 = \arg\max_i\, s_O([q, m_{o_1}], m_i), \qquad
s_O(a, b) = \Phi(a)^\top U^\top U\, \Phi(b) $$

This is `attend` with all the weight on one key. There is no gradient through an argmax, so they had to be told in
training which sentences to find. S. Sukhbaatar et al. (March 2015) put the softmax in its place, and nobody needs
to tell any more:

$$ p_i = \mathrm{softmax}(u^\top m_i), \qquad o = \sum_i p_i c_i, \qquad u' = u + o $$

Keys $m_i = A x_i$ and values $c_i = C x_i$ are two embeddings of the same sentence, and the answer is added to the
question for the next *hop*. A Transformer layer has both: $W^K$ beside $W^V$, and the residual sum $x +
\mathrm{Sublayer}(x)$.

Here is such a network for a small story, with embeddings set by hand: hop 1 compares objects and brings a person,
hop 2 compares persons and brings a place.
"""

# %%
question, strength = "where is the ball", 4.0  # change me: ask for the milk; lower the strength

story = ["john went to the kitchen", "mary went to the garden", "john took the ball", "mary took the milk"]
kinds = {"object": ["ball", "milk"], "person": ["john", "mary"], "place": ["kitchen", "garden"]}
names = [word for kind in kinds.values() for word in kind]


def bag(sentence, kind):
    """Which of the words of a kind are in a sentence: (6,)."""
    return torch.tensor([float(word in kinds[kind] and word in sentence.split()) for word in names])


u, hops = bag(question, "object"), []
for compared, brought in (("object", "person"), ("person", "place")):
    m = torch.stack([bag(sentence, compared) for sentence in story])  # (4, 6): keys, A x
    c = torch.stack([bag(sentence, brought) for sentence in story])  # (4, 6): values, C x
    hops.append(softmax(strength * dot(u.unsqueeze(0), m))[0])
    u = u + attend(strength * u.unsqueeze(0), m, c, dot)[0]  # u + o
answer = max(kinds["place"], key=lambda place: u[names.index(place)])

drawing = Figure(figsize=(9, 2.2), layout="constrained")
left, right = drawing.subplots(1, 2, width_ratios=(3, 2))
left.imshow(torch.stack(hops), cmap="gray", vmin=0, vmax=1, aspect="auto")
left.set_xticks(range(4), [sentence.replace(" the ", "\nthe ") for sentence in story], fontsize=8)
left.set_yticks([0, 1], ["hop 1", "hop 2"])
left.set_title(f"{question}? {answer}", fontsize=10)
strengths = torch.logspace(-1, 2, 50)
m = torch.tensor([[0.9], [0.7], [0.3]])
for curve, colour in zip(softmax(strengths.view(-1, 1) * m.T).T, COLOURS[:3], strict=True):
    right.plot(strengths, curve, color=colour)
right.set(xscale="log", xlabel="strength", title="weights of keys that score 0.9, 0.7, 0.3")
right.title.set_fontsize(10)
bare(right)
display(drawn(drawing, "Two hops over a story of four sentences, and weights that harden as the strength grows"))
check(answer == {"ball": "kitchen", "milk": "garden"}.get(question.split()[-1]), f"Two hops find the {answer}.")
check(
    near(softmax(1000 * m.T), hardest(m.T)), "The softmax of ever stronger scores becomes the argmax of Weston et al."
)

# %% [markdown]
r"""
**What differs** from RNNsearch: the query is a question and no decoder state, the reads follow one another before
anything is written, and the memory holds sentences. A bag of words has no order, so Sukhbaatar et al. add a learned
vector for the age of each sentence: the set view again.

**Exercise.** Read the memory below with all the weight on the best key, by `attend`.
"""

# %%
asked, stored, told = torch.tensor([[1.0, 2.0]]), torch.eye(2), torch.tensor([[10.0], [20.0]])
yours = None  # attend(...), a tensor of shape (1, 1)
exercise(yours, torch.tensor([[20.0]]))

# %% [markdown]
r"""
## 9 Without the softmax

Leave out the softmax, and the order of the products may be changed:

$$ \sum_j (q \cdot k_j)\, v_j = \Big( \sum_j v_j k_j^\top \Big)\, q = W q $$

All keys and values become one matrix of fixed size, to which each new pair adds an outer product. J. Schmidhuber
(1992) trained a slow network to program the *fast weights* $W$ of another in this way. Schlag et al. (*Linear
Transformers Are Secretly Fast Weight Programmers*, [2021](https://arxiv.org/abs/2102.11174)) showed the identity with
attention without softmax. It is a recurrent
network, and like every recurrent network it lacks what attention has: room.
"""

# %%
d = 16  # change me: size of the keys, and so of the memory

torch.manual_seed(11)
K, V = F.normalize(torch.randn(12, d), dim=-1), torch.randn(12, d)
one_at_a_time, W = [], torch.zeros(d, d)
for k, v in zip(K, V, strict=True):
    W = W + v.outer(k)  # write
    one_at_a_time.append(W @ k)  # read with the newest key
seen = torch.ones(12, 12).tril()
all_at_once = attend(K, K, V, lambda Q, K: dot(Q, K) * seen, weigh=lambda e: e)
check(
    near(torch.stack(one_at_a_time), all_at_once, 1e-5), "Written pair by pair it is causal attention without softmax."
)

counts, right_ones = (1, 2, 4, 8, 16, 32, 64, 128), {"fast weights": [], "softmax": []}
for count in counts:
    K, V = F.normalize(torch.randn(50, count, d), dim=-1), torch.randn(50, count, d)
    for name, found in (
        ("fast weights", attend(K, K, V, dot, weigh=lambda e: e)),
        ("softmax", attend(K, K, V, cosine(20.0))),
    ):
        nearest = torch.cdist(found, V).argmin(-1)  # which stored value is it most like?
        right_ones[name].append((nearest == torch.arange(count)).float().mean().item())
drawing = Figure(figsize=(5.2, 2.6), layout="constrained")
axes = drawing.subplots()
for (name, share), colour in zip(right_ones.items(), COLOURS[1::-1], strict=False):
    axes.plot(counts, share, "o-", color=colour, label=name)
axes.set(xscale="log", xlabel=f"pairs stored, d = {d}", ylabel="found again", ylim=(0, 1.05))
axes.set_xticks(counts, map(str, counts))
axes.legend(frameon=False)
bare(axes)
drawn(drawing, "Share of stored pairs that are found again: fast weights lose them as the matrix fills, softmax none")

# %% [markdown]
r"""
**Exercise.** Build the fast weights of all pairs below in one product.
"""

# %%
keys, values = torch.randn(5, 3), torch.randn(5, 2)
yours = None  # a tensor of shape (2, 3)
exercise(yours, sum(v.outer(k) for k, v in zip(keys, values, strict=True)))

# %% [markdown]
r"""
## 10 Who had it when

Dates are those of the first version on arXiv, where there is one. *Weights by* says what the weights are computed
from. The picture has those since 2013; orange are those whose *weights by* holds the word of the first line.
"""

# %%
marked = "dot"  # change me: "additive", "cosine", "location" or "position"

WORKS = [  # year and month, who, what, weights by, address
    ((1964, 1), "Nadaraya; Watson", "kernel regression", "nearness of x", None),
    ((1992, 1), "Schmidhuber", "fast weights, written as outer products", "dot product, no softmax", None),
    ((2013, 8), "Graves", "handwriting from text: a window that moves over the characters", "position", "1308.0850"),
    ((2014, 9), "Bahdanau, Cho, Bengio", "RNNsearch", "content: additive", "1409.0473"),
    ((2014, 10), "Weston, Chopra, Bordes", "Memory Networks", "content: the best match alone", "1410.3916"),
    ((2014, 10), "Graves, Wayne, Danihelka", "Neural Turing Machines", "content: cosine; location", "1410.5401"),
    ((2015, 2), "Xu et al.", "an image described, word by word", "content: additive", "1502.03044"),
    ((2015, 3), "Sukhbaatar et al.", "End-To-End Memory Networks", "content: dot product", "1503.08895"),
    (
        (2015, 8),
        "Luong, Pham, Manning",
        "translation with simpler scores",
        "content: dot, bilinear, additive",
        "1508.04025",
    ),
    ((2016, 1), "Cheng, Dong, Lapata", "an LSTM that attends to its own past", "content: additive", "1601.06733"),
    ((2016, 6), "Parikh et al.", "two sentences compared, no recurrence", "content: dot product", "1606.01933"),
    ((2017, 3), "Lin et al.", "several averages describe a sentence", "content: learned queries", "1703.03130"),
    ((2017, 5), "Gehring et al.", "convolutions, and attention in every layer", "content: dot product", "1705.03122"),
    ((2017, 6), "Vaswani et al.", "the Transformer", "content: scaled dot product, heads", "1706.03762"),
]
TITLES = {  # by address on arXiv
    "1308.0850": "Generating Sequences With Recurrent Neural Networks",
    "1409.0473": "Neural Machine Translation by Jointly Learning to Align and Translate",
    "1410.3916": "Memory Networks",
    "1410.5401": "Neural Turing Machines",
    "1502.03044": "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
    "1503.08895": "End-To-End Memory Networks",
    "1508.04025": "Effective Approaches to Attention-based Neural Machine Translation",
    "1601.06733": "Long Short-Term Memory-Networks for Machine Reading",
    "1606.01933": "A Decomposable Attention Model for Natural Language Inference",
    "1703.03130": "A Structured Self-attentive Sentence Embedding",
    "1705.03122": "Convolutional Sequence to Sequence Learning",
    "1706.03762": "Attention Is All You Need",
}
rows = [
    [
        str(year) if address is None else f"{year}-{month:02}",
        f"{who}: [*{TITLES[address]}*](https://arxiv.org/abs/{address})" if address else who,
        what,
        by,
    ]
    for (year, month), who, what, by, address in WORKS
]
display(Markdown(table(["when", "who", "what", "weights by"], rows)))

recent = [(year + (month - 1) / 12, who, what, by) for (year, month), who, what, by, address in WORKS if address]
drawing = Figure(figsize=(10, 3.3), layout="constrained")
axes = drawing.subplots()
for row, (when, who, what, by) in enumerate(recent):
    major = what in ("RNNsearch", "the Transformer")
    axes.plot([when, 2018.2], [row, row], color="#dddddd", linewidth=0.8, zorder=0)
    axes.plot(when, row, "o", color=COLOURS[1] if marked in by else COLOURS[0], markersize=8 if major else 5)
    axes.text(2018.3, row, f"{who}: {what}", va="center", fontsize=8, weight="bold" if major else "normal")
axes.invert_yaxis()
axes.set(xlim=(2013.4, 2022.4), yticks=[], xticks=range(2014, 2019))
axes.spines[["top", "right", "left"]].set_visible(False)
display(drawn(drawing, "Twelve works from August 2013 to June 2017 on a line of time; some of the dots are orange"))
check([work[0] for work in WORKS] == sorted(work[0] for work in WORKS), "They stand in the order of their dates.")

# %% [markdown]
r"""
**Content, 2014.** Three groups had weights by content within two months of one another. RNNsearch was on arXiv
first, and had the whole of it: a learned score, the softmax, and training by the task alone. Graves had trained
soft weights end to end a year before, but his window moves along the text by steps of its own and does not compare
contents. The older works had the average without the learned comparison, or the comparison without the softmax.

**Self-attention, 2016.** That a sequence attends to *itself* came next: beside recurrence (Cheng et al., and Lin et
al. a year later), and as an option in a model without any (Parikh et al.). The Transformer's own step was to delete the
rest, and to make what was left trainable in depth: scale, heads, positions, residual sums, norms.

**The name.** The paper of 2014 is about *aligning*; its model is called RNNsearch because it *searches* the source.
Its §3.1 says that the decoder decides which parts of the source to pay attention to. D. Bahdanau told how it came
about in a letter that A. Karpathy made public in 2024. By it the name *attention* is due to Y. Bengio. The metaphor
is older. Networks with a moving fovea were described in terms of attention by Schmidhuber and Huber (*Learning to
Generate Artificial Fovea Trajectories for Target Detection*,
[1991](https://people.idsia.ch/~juergen/attention/attention.html)), by Larochelle and Hinton (*Learning to Combine
Foveal Glimpses with a Third-Order Boltzmann Machine*,
[2010](https://papers.nips.cc/paper_files/paper/2010/hash/677e09724f0e2df9b6c000b75b5da10d-Abstract.html)), and by Mnih
et al. (*Recurrent Models of Visual Attention*, [June 2014](https://arxiv.org/abs/1406.6247)). These look at one place
at a time and must choose it; a weighted average looks at all places at once, and its gradient says where to look more.

**Sources.** The papers above, each with its link; E. A. Nadaraya, *On Estimating Regression*, Theory of Probability and
Its Applications 9(1) ([1964](https://doi.org/10.1137/1109020)); G. S. Watson, *Smooth Regression Analysis*, Sankhyā A
26(4), 1964; J. Schmidhuber, *Learning to Control Fast-Weight Memories: An Alternative to Dynamic Recurrent Networks*,
Neural Computation 4(1) ([1992](https://doi.org/10.1162/neco.1992.4.1.131)), and his account of
[early neural attention](https://people.idsia.ch/~juergen/neural-attention-1990-1993.html); for the letter, a
transcription in [The Origin Story of Transformers](https://frontiermag.net/the-origin-story-of-transformers) and
[Turing Post](https://turingpost.com/p/attention).

**Exercise.** What did each have? Rows: the handwriting of Graves (2013), RNNsearch, the first Memory Networks (2014).
Columns: the weights compare contents; they are soft, with a gradient; training by the task alone finds them. Give 1 for
yes and 0 for no.
"""

# %%
yours = None  # torch.tensor([[..., ..., ...], [..., ..., ...], [..., ..., ...]])
exercise(yours, torch.tensor([[0, 1, 1], [1, 1, 1], [1, 0, 0]]))

# %% [markdown]
r"""
## 11 The steps, trained

What is each part worth? Here is a row of models from RNNsearch to the Transformer. Each is named for the change from
the one before. Two steps are bundles, whose parts this row cannot tell apart: the one without recurrence and the last
(the table has what they bring). The first is our model of 2014 and the last our model of 2017; those between are
[assembled from the two papers' modules](deletion/model.py), and nobody proposed them.
"""

# %%
sizes = {step: LADDER.recipe(name) for step, name in zip(STEPS, LADDER.systems("deletion"), strict=True)}
torch.manual_seed(12)
models = {step: LADDER.build_model(recipe).eval() for step, recipe in sizes.items()}
rows = [
    [recipe.title, CHANGES[step], f"{sum(parameter.numel() for parameter in models[step].parameters()):,}"]
    for step, recipe in sizes.items()
]
display(Markdown(table(["step", "what it changes", "parameters"], rows, right=(2,))))
check(type(models["rnnsearch"]) is RNNsearch, "The first is our class for the paper of 2014.")
check(type(models["transformer"]) is Transformer, "The last is our class for the paper of 2017.")
code(ScaledDotProduct.forward, Between._decode)

# %% [markdown]
r"""
Which of them can tell the order of the words? The source is permuted, and drawn is how much the prediction of the
words moves (the weights are random, so only zero or not zero means something). When recurrence goes, order goes
with it, and self-attention does not bring it back: positions do.
"""

# %%
source = [17, 230, 5, 96, 41, 388]  # change me: any ids from 2 to 999

torch.manual_seed(13)
target = [[12, 7, 300, EOS]]
here, there = (Batch(*pad([[*ids, EOS]]), *pad(target)) for ids in (source, source[::-1]))
moves = {}
for step, model in models.items():
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, std=0.2)
    moves[step] = ((model(here) - model(there)).abs().max() / model(here).std()).item()
drawing = Figure(figsize=(6.4, 2.6), layout="constrained")
axes = drawing.subplots()
bars = axes.barh(range(len(STEPS)), list(moves.values()), color=COLOURS[0])
axes.bar_label(bars, ["0" if move < 1e-6 else f"{move:.2f}" for move in moves.values()], padding=3)
axes.set_yticks(range(len(STEPS)), [recipe.title for recipe in sizes.values()])
axes.invert_yaxis()
axes.set(xlabel="how far predictions move / their spread")
bare(axes)
display(drawn(drawing, "Bars for eight models; those of the third and fourth step are zero"))
blind = [step for step, move in moves.items() if move < 1e-6]
check(blind == ["no-recurrence", "self-attention"], "Two steps are blind to the order of the source.")

# %% [markdown]
r"""
All were trained on the generated language of the demo, for the same updates on the same minibatches with the same
optimizer, three seeds each ([recipes](recipes/deletion.yaml); `python -m papers.lineage.deletion` does it again).
What follows is [the committed page](results/deletion/tables.md).

How to read it: look at the seeds before the means. Each step has its own spread over seeds, and each difference an
interval and a verdict that code decides. Additive score or scaled dot product is undecided here. Without recurrence
little is left: the words have no order then, and nothing remembers what was written. Self-attention with positions
could in principle carry order and history, but with one head and no residual sum it has not learned to when the
updates end; its curve still falls. With several heads the model comes near the recurrent ones again, and an update
takes less time. Residual sums and norms bring more, and so does what the last step bundles.
This is a small experiment on an easy language with short sentences. It shows what such models learn in so many
updates, and not what a part is worth on real text.
"""

# %%
show(committed(LADDER, "deletion"), "Steps", "Score", "What each", "Learning", "Notes")

# %%
found = read_results(LADDER.root / "results" / "deletion")
runs = {name: found[name] for name in (system.rpartition("/")[2] for system in LADDER.systems("deletion"))}
names = dict(zip(STEPS, runs, strict=True))
differences = {step: from_before(runs, names[step], names[before]) for before, step in pairwise(STEPS)}
verdicts = {step: BLEU.verdict(difference) for step, difference in differences.items()}
better = [step for step, verdict in verdicts.items() if verdict == "matters: better"]
worse = [step for step, verdict in verdicts.items() if verdict == "matters: worse"]
undecided = [step for step, verdict in verdicts.items() if verdict.startswith("undecided")]
check(undecided == ["dot-product", "self-attention", "positions"], "Undecided: the score, self-attention, positions.")
check(worse == ["no-recurrence"], "Worse: without recurrence.")
check(better == ["heads", "residuals", "transformer"], "Better: heads, residual sums and norms, the last bundle.")
falling = runs[names["positions"]]
check(lately(falling) < -0.01, "With positions, likelihood still improves in the last tenth of the updates.")
again = abs(BLEU.mean(runs[names["heads"]]) - BLEU.mean(runs[names["dot-product"]]))
check(again < 5, "With several heads the mean is within 5 BLEU of the last recurrent model's.")

# %% [markdown]
r"""
**Exercise.** In a step with self-attention, the word before the last can change the next prediction. In the step
without recurrence and without self-attention it cannot. Measure both: by how much does a logit at the last position
move at most, in `models["no-recurrence"]` and in `models["self-attention"]`, when the *first* target word is 99 in
place of 12? The batch is `here`, and the other one is made below. Give two numbers.
"""

# %%
other = Batch(*pad([[*source, EOS]]), *pad([[99, *target[0][1:]]]))
yours = None  # torch.tensor([..., ...]), from models[...](here) and models[...](other), each (1, T, V)

last = [models[step](other)[0, -1] - models[step](here)[0, -1] for step in ("no-recurrence", "self-attention")]
exercise(yours, torch.stack([difference.abs().max() for difference in last]))

# %% [markdown]
r"""
## 12 The two ends, on real text

Both papers' own models, a quarter of their sizes, on the same 170,839 pairs of Europarl, scored on newstest2014. All
have the training FLOPs or the CPU time that RNNsearch-50 took for its 8,000 updates on words. What follows is
[the committed page](results/europarl-same-small/tables.md), which says how it was made.

How to read it: the scores are low, because the text is small and the news is not the parliament. RNNencdec is below 2
BLEU, so to be above it is little. Each score is one training, and intervals leave out the seed. The Transformers are a
second try, with a longer warm-up, made when the scores of the first were seen (the page's notes). In the curves they
start behind. On words at equal FLOPs the curve ends 0.08 nats behind RNNsearch-50's. Diamonds are the means of five
checkpoints, which are what is scored (§6.1 of 2017; no RNN has them), and the mean is level with it; BLEU is higher all
the same. With sub-words the Transformer scores higher than with words, and RNNsearch-50 lower, in these trainings;
whether another seed would turn the latter is open.
"""

# %%
vocabulary, budget = "sub-words", "time"  # change me: "words" or "sub-words", "FLOPs" or "time"

with tempfile.TemporaryDirectory() as out:
    page = build_page("europarl-same-small", None, Path(out))
narrow = replace(page, markdown=without_columns(page.markdown, "the run"))
show(narrow, f"{vocabulary.capitalize()}, equal {budget}", "Likelihood of the development set")

# %%
said = {outcome.claim.statement: outcome.verdict for outcome in page.claims}
above = [verdict for statement, verdict in said.items() if " beats " in statement]
check(above == ["holds"] * 8, "RNNsearch-50 is above RNNencdec-50, and the Transformer above it, at every budget.")
one, other = (
    read_results(paper.root / "results" / "europarl-same-small")[name]
    for paper, name in ((VASWANI, "base-enfr-words"), (BAHDANAU, "rnnsearch-50"))
)
ends = [run.file.training.dev_curve[-1].dev_nll_per_token for run in (one, other)]
check(round(ends[0] - ends[1], 2) == 0.08, "On words at equal FLOPs the Transformer's curve ends 0.08 nats behind.")
check(abs(one.dev.nll_per_token - other.dev.nll_per_token) < 0.02, "The mean of its checkpoints is level.")

# %% [markdown]
r"""
**Exercise.** At equal FLOPs on words, how many times as many target tokens has RNNsearch-50 read as the Transformer?
The column is in the table of `vocabulary, budget = "words", "FLOPs"` above; one decimal is enough.
"""

# %%
yours = None

read = [run.file.training.progress.target_tokens for run in (other, one)]
exercise(None if yours is None else round(yours, 1), round(read[0] / read[1], 1))

# %% [markdown]
r"""
## Where to go from here

- [`attention.py`](attention.py), the one function, and [`deletion/`](deletion/model.py), the steps
- The two papers, in their own order: [2014](../bahdanau2014/notebook.ipynb), [2017](../vaswani2017/notebook.ipynb)
- Both on real text, side by side: [Multi30k](results/multi30k/tables.md), and
  [at equal cost](results/europarl-same-small/tables.md)
"""
