# %% [markdown]
r"""
# Attention Is All You Need, read with the code running

*A. Vaswani and seven others, NIPS 2017, [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)*

Read this with the paper in the other hand. It goes through the paper in the paper's order, under the paper's numbers of
sections. Beside each equation stands the code that computes it. That code is not written here. The notebook imports it
from [`model.py`](model.py), [`optim.py`](optim.py) and the engine that trained every model of this repository, and
prints its source.

- **✓** stands before what a cell has checked. Had it been false, the cell would have failed.
- **CHANGE** in a cell marks numbers and words for you to change. Run the cell again and see what happens. If a check
  fails then, what it says was true of the old values and is not of yours.
- **Exercise** ends each section. Put your answer in place of `None` and run the cell: it says whether you are right.
  Whole numbers must be exact. Of other numbers give five digits, or better the expression that computes them.

All of it runs on one core of a processor in about two minutes and downloads nothing.

| letter | meaning | letter | meaning |
|---|---|---|---|
| $d_{model}$, $d$ | size of the vector of a word | $B$ | sentences in a minibatch |
| $h$ | heads of an attention | $S$, $T$ | positions of the source, of the target |
| $d_k$, $d_v$ | sizes of a key and of a value in one head | $V$ | words in the vocabulary (also: the values) |
| $d_{ff}$ | inner size of a feed-forward network | $N$ | layers of the encoder, and of the decoder |

"v1.0" is the authors' first public code, tensor2tensor of June 2017. It decides where the paper leaves something open.

## Contents

| section | in the paper | here |
|---|---|---|
| [1 and 2 Introduction and background](#1-and-2-Introduction-and-background) | Table 2 | the claim in one picture |
| [3 Model architecture](#3-Model-architecture) | Figure 1 | drawn from the model; real tensors and their shapes |
| [3.1 Encoder and decoder stacks](#3.1-Encoder-and-decoder-stacks) | | the residual sum, and the norm after it |
| [3.2.1 Scaled dot-product attention](#3.2.1-Scaled-dot-product-attention) | Eq. (1) | by hand, and why it is scaled |
| [3.2.2 Multi-head attention](#3.2.2-Multi-head-attention) | Figure 2 | the heads one by one and together |
| [3.2.3 Applications of attention](#3.2.3-Applications-of-attention) | | masks, and what the model really sees |
| [3.3 Position-wise feed-forward networks](#3.3-Position-wise-feed-forward-networks) | Eq. (2) | each position alone |
| [3.4 Embeddings and softmax](#3.4-Embeddings-and-softmax) | | one matrix, three uses |
| [3.5 Positional encoding](#3.5-Positional-encoding) | | words without order, and waves that give it |
| [4 Why self-attention](#4-Why-self-attention) | Table 1 | counted on graphs, measured on a processor |
| [5.1 Training data and batching](#5.1-Training-data-and-batching) | | sub-words and padding |
| [5.2 Hardware and schedule](#5.2-Hardware-and-schedule) | Table 2 | the cost of training, counted |
| [5.3 Optimiser](#5.3-Optimiser) | Eq. (3) | Adam by hand, and the learning rate |
| [5.4 Regularisation](#5.4-Regularisation) | | dropout and label smoothing |
| [The training, whole](#The-training,-whole) | | a Transformer trained in a minute, as the paper trains |
| [6.1 Machine translation](#6.1-Machine-translation) | Table 2 | **your own sentence**, and our scores on real text |
| [6.2 Model variations](#6.2-Model-variations) | Table 3 | what each change does; all parameters counted |
| [6.3 English constituency parsing](#6.3-English-constituency-parsing) | Table 4 | trees as sentences |
| [Attention visualisations](#Attention-visualisations) | Figures 3 to 5 | your sentence, and a photograph's |
| [7 Where to go from here](#7-Where-to-go-from-here) | | |
"""

# %%
import sys

sys.path.insert(0, "../..")  # the repository's root, seen from this notebook's folder

import torch
from IPython.display import Markdown, display

from common.report.notebook import check, code, equations, exercise
from common.report.page import png
from common.report.pictures import heat, image, lighter, plot
from papers.vaswani2017.paper import PAPER

torch.set_num_threads(1)  # at these sizes one thread is fastest, and it adds in the same order every time
Markdown(f"**{PAPER.title}.** {PAPER.citation}.")

# %% [markdown]
r"""
## 1 and 2 Introduction and background

A recurrent network reads a sentence word by word: its state at position $t$ needs the state at $t - 1$. So a long
sentence takes many steps that cannot be made at once, and what one word tells another must survive every step between
them. Attention had been a helper of such networks ([the notebook of 2014](../bahdanau2014/notebook.ipynb)). This paper
keeps the helper and drops the network. Each position looks directly at all others (in the decoder, at all before it).

The paper promises two things: better translations, and less training. Its Table 2 prints both. Here they are in one
picture. BLEU measures how much a translation agrees with a human one, and more is better. FLOPs are floating-point
operations. **No number in the picture is ours.**
"""

# %%
# CHANGE: "EN-FR" is English to French.
languages = "EN-DE"

from matplotlib.figure import Figure

from common.yaml_files import read_yaml

reported = read_yaml(PAPER.root / "reported.yaml")
table2 = reported["tables"]["table2"]["rows"]
drawing = Figure(figsize=(7, 3.4), layout="constrained")
axes = drawing.subplots()
flops = f"FLOPs {languages}"
points = [(row["label"], row[flops], row[languages]) for row in table2.values() if flops in row]
for label, x, y in points:
    axes.scatter(x, y, color="#D55E00" if label.startswith("Transformer") else "#0072B2")
    # A label stands to the right of its point, or to the left where the next point is close.
    crowded = any(x < other < 3 * x and abs(bleu - y) < 0.35 for _, other, bleu in points)
    place = {"xytext": (-6, 0), "ha": "right"} if crowded else {"xytext": (6, 0), "ha": "left"}
    axes.annotate(label, (x, y), textcoords="offset points", va="center", fontsize=9, **place)
axes.set(xscale="log", xlabel="FLOPs of training, as the paper estimates them", ylabel=f"BLEU, {languages}")
axes.set_title("As printed in Table 2, newstest2014", fontsize=10)
axes.margins(x=0.4, y=0.12)
axes.spines[["top", "right"]].set_visible(False)
image(png(drawing), f"Each system of Table 2 as a point: BLEU, {languages}, by the FLOPs of its training")

# %% [markdown]
r"""
**Exercise.** How many times the FLOPs of the base Transformer did the most expensive system of Table 2, English to
German, take? Guess from the picture, then compute it from `table2`.
"""

# %%
yours = None
costs = [row["FLOPs EN-DE"] for row in table2.values() if "FLOPs EN-DE" in row]
exercise(yours, max(costs) / table2["base"]["FLOPs EN-DE"])

# %% [markdown]
r"""
## 3 Model architecture

A translation model gives each target sentence a probability, word by word:

$$ p(y \mid x) = \prod_{t} p(y_t \mid y_1, \ldots, y_{t-1}, x) $$

The **encoder** turns the source words $x_1 \ldots x_n$ into as many vectors $z_1 \ldots z_n$. The **decoder** turns
these and the words it has written so far into the probabilities of the next word.

Below is Figure 1 of the paper. It is not drawn by hand. The model is built and run once, and hooks note which module
reads which tensor. All names, numbers, shapes and arrows are what they noted.
"""

# %%
# CHANGE: "big", "table3-C-N2" (two layers), "table3-E-learned" (no sinusoids), "variants/authors-v1" (their code)
name = "base"

from papers.vaswani2017.architecture import figures

figure1, figure2 = figures(PAPER.recipe(name))
display(image(figure1.png, figure1.title), Markdown(figure1.caption))

# %% [markdown]
r"""
### A running example

Shapes are easier to believe on real tensors. So two English sentences and their German translations go through the
whole of section 3. They are cut into sub-words (§5.1), each sub-word has a number, and every sentence ends in `</s>`.
The shorter sentence is filled up to the length of the longer one. This filling is called padding, and a mask says where
it is.

The sentences come from a small *generated* language, the text of this repository's demo. A program wrote it, so that
any machine has it and a model can learn it in a minute. Scores on it say nothing about real text.
"""

# %%
# CHANGE: words of the demo's text only. Others are cut into pieces that the model knows less well.
pairs = [("The doctor did not sell his car.", "Der Arzt verkaufte sein Auto nicht."),
         ("Anna slept.", "Anna schlief.")]  # fmt: skip

import tempfile
from pathlib import Path

from common.contract import EOS, Batch, pad
from common.markdown import table
from common.run.folder import prepare_data

# path=readable: model.py as it stands. fast.py is the same model arranged for speed.
demo = PAPER.recipe("demo/base", ["path=readable"])
prepared = prepare_data(demo, Path(tempfile.mkdtemp()), workers=1)
text = prepared.text

source, source_mask = pad([[*text.encode_source(english), EOS] for english, _ in pairs])  # (B, S) each
target, target_mask = pad([[*text.encode_target(german), EOS] for _, german in pairs])  # (B, T) each
batch = Batch(source, source_mask, target, target_mask)
english = [*text.source_tokens(pairs[0][0]), "</s>"]
german = [*text.target_pieces(target[0].tolist()), "</s>"]

ids = [[str(value) if real else f"*{value}*" for value, real in zip(*row, strict=True)]
       for row in zip(source.tolist(), source_mask.tolist(), strict=True)]  # fmt: skip
header = ["source", *(f"`{piece}`" for piece in english)]
display(Markdown(table(header, [["sentence 1", *ids[0]], ["sentence 2", *ids[1]]])))
Markdown("In italics: padding. It has the number of `</s>`, and the mask keeps everyone from looking at it.")

# %% [markdown]
r"""
The model for section 3 is small and not trained. All its sizes differ, so that a shape tells what it is the shape of.
"""

# %%
# CHANGE: any sizes. d_model must be even, because the sines and cosines of §3.5 come in pairs.
sizes = ["N=2", "d_model=24", "d_ff=40", "h=3", "d_k=5", "d_v=7", "P_drop=0.0"]

small = PAPER.recipe("demo/base", [*sizes, "path=readable"])
torch.manual_seed(0)
model = PAPER.build_model(small).eval()
d_model = small.model.d_model

seen = []
hooks = [
    module.register_forward_hook(lambda part, given, out, path=path: seen.append([f"`{path}`", str([*out.shape])]))
    for path, module in model.named_modules()
    if path.count(".") == 2 and ".0." in path  # the parts of the first layer of each stack
]
with torch.no_grad():
    logits = model(batch)
for hook in hooks:
    hook.remove()
B, S, T, V = *batch.source.shape, *logits.shape[1:]
rows = [["source", f"{[B, S]}"], ["previous target words", f"{[B, T]}"], *seen, ["logits", f"{[B, T, V]}"]]
Markdown(table([f"tensor, with B = {B}, S = {S}, T = {T}, d_model = {d_model}, V = {V:,}", "shape"], rows))

# %% [markdown]
r"""
**Exercise.** How probable does this untrained model find the second translation? Compute $\log p(y \mid x)$ from
`logits[1]` (T, V), `target[1]` and `target_mask[1]` (T,). Padding is no part of the sentence.
"""

# %%
yours = None
of_each = logits[1].log_softmax(-1)[range(T), target[1]]  # (T,)
exercise(yours, of_each[target_mask[1]].sum())

# %% [markdown]
r"""
### 3.1 Encoder and decoder stacks

A stack is $N$ layers, alike in form and each with parameters of its own. A layer is made of sub-layers. Around each
sub-layer goes the same frame: its output is added to its input (a *residual connection*), and the sum is normalised.

$$ \mathrm{LayerNorm}(x + \mathrm{Sublayer}(x)), \qquad
\mathrm{LayerNorm}(v) = g \odot \frac{v - \mu}{\sqrt{\sigma^2 + \epsilon}} + b, \qquad
\mu = \frac{1}{d} \sum_{i=1}^{d} v_i, \quad \sigma^2 = \frac{1}{d} \sum_{i=1}^{d} (v_i - \mu)^2 $$

The gain $g$ and the bias $b$ are learned. The paper cites [Ba et al. (2016)](https://arxiv.org/abs/1607.06450) for this
formula and gives no $\epsilon$; v1.0 has $10^{-6}$. Everything that is added must have one size, so all sub-layers and
embeddings have size $d_{model}$.

An encoder layer has two sub-layers, a decoder layer three: between its own two it attends to the encoder's output. Each
line below is one frame with one sub-layer in it.
"""

# %%
from papers.vaswani2017.model import AddAndNorm, DecoderLayer, EncoderLayer

display(equations(AddAndNorm, {"return self.norm(": r"\mathrm{LayerNorm}(x + \mathrm{Dropout}(\mathrm{Sublayer}(x)))"}))
display(code(EncoderLayer.forward, DecoderLayer.forward))

torch.manual_seed(0)
x, sublayer = torch.randn(B, S, d_model), torch.randn(B, S, d_model)  # (B, S, d) each
v = x + sublayer
mean = v.mean(-1, keepdim=True)  # (B, S, 1): each position has its own
variance = (v - mean).square().mean(-1, keepdim=True)
by_hand = (v - mean) / (variance + 1e-6).sqrt()  # g = 1 and b = 0 before training
normed = model.encoder[0].feed_forward_norm(x, sublayer)
check(torch.allclose(normed, by_hand, atol=1e-5), "The frame is the formula above, computed at each position.")

# %% [markdown]
r"""
**The norm comes after the sum.** Most later Transformers moved it: $x + \mathrm{Sublayer}(\mathrm{LayerNorm}(x))$, with
one more norm at the top of each stack. Much teaching code shows this later form under the paper's name. The two are
different functions. In the paper's form no path leads around the norms, so what leaves a layer has mean 0 and variance
1 at every position, until training changes $g$ and $b$. In the later form $x$ itself goes through, every sub-layer adds
to it, and in a deep stack the sum becomes large.
"""

# %%
# CHANGE: the number of layers, 2 or more
layers = 12

torch.manual_seed(0)
deep = PAPER.build_model(PAPER.recipe("demo/base", [*sizes, f"N={layers}", "path=readable"])).eval()
after, inside = [], []  # size of the vectors above each layer, by the paper's form and by the later one
x = y = torch.randn(1, S, d_model)
everywhere = torch.ones(1, 1, 1, S, dtype=torch.bool)
with torch.no_grad():
    for layer in deep.encoder:
        x = layer(x, everywhere)
        for sublayer, norm in ((layer.self_attention, layer.self_attention_norm.norm),
                               (layer.feed_forward, layer.feed_forward_norm.norm)):  # fmt: skip
            z = norm(y)
            attends = sublayer is layer.self_attention
            y = y + (sublayer(z, sublayer.keys_values(z), everywhere) if attends else sublayer(z))
        after.append(x.square().mean().sqrt().item())
        inside.append(y.square().mean().sqrt().item())
check(max(abs(1 - size) for size in after) < 1e-3, "Norm after the sum: above every layer the vectors have size 1.")
check(inside[-1] > inside[0], "Norm inside: above the last layer they are larger than above the first.")
curves = {"norm after the sum, the paper": after, "norm inside, later models": inside}
plot({"before training | layer | root mean square": curves}, "Size of the vectors above each layer, by both forms")

# %% [markdown]
r"""
**Exercise.** Write the norm of the paper's form for `v` in one line, without PyTorch's own `layer_norm`, and with
dropout left out. (`keepdim=True` keeps an axis of length 1 to subtract along.)
"""

# %%
yours = None
exercise(yours, by_hand)

# %% [markdown]
r"""
### 3.2 Attention

Attention answers a *query*. It has *keys*, and behind each key a *value*. The answer is a weighted mean of the values,
and the better a key fits the query, the larger is the weight of its value. It is like looking up a word in a
dictionary, except that every entry answers a little.

#### 3.2.1 Scaled dot-product attention

How well a key fits is the dot product of key and query. The queries are the rows of a matrix $Q$, so all are answered
at once. This is Eq. (1):

$$ \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V $$
"""

# %%
from papers.vaswani2017.model import attention_weights, scaled_dot_product_attention

display(
    equations(
        attention_weights,
        {"compatibility = (Q": r"\frac{Q K^\top}{\sqrt{d_k}}", "return": r"\mathrm{softmax}(\ldots)"},
    ),
    equations(scaled_dot_product_attention, {"return": r"\mathrm{softmax}\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V"}),
)

# %% [markdown]
r"""
Three queries, four keys and $d_k = 4$ are few enough to do it by hand. The first query fits one key, the second fits
two, and the third is zero and asks for nothing in particular. It gets the plain mean of all values.
"""

# %%
# CHANGE: the queries. Make one twice as long: its weights become sharper. Why?
Q = torch.tensor([[3.0, 0, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0]])  # (3, d_k)
K = torch.tensor([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2]])  # (4, d_k)
V_ = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])  # (4, d_v)

import math

by_hand = []
for q in Q.tolist():
    scores = [math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(4)) for k in K.tolist()]
    weights = [score / sum(scores) for score in scores]
    by_hand.append([sum(w * v[column] for w, v in zip(weights, V_.tolist(), strict=True)) for column in range(2)])
answer = scaled_dot_product_attention(Q, K, V_)
check(torch.allclose(torch.tensor(by_hand), answer), "Loops over plain numbers give the same as the two lines above.")
steps = {"Q Kᵀ": Q @ K.T, "/ √d_k": Q @ K.T / 2, "softmax: weights": attention_weights(Q, K, None), "times V": answer}
names = {title: ["key 1", "key 2", "key 3", "key 4"] for title in [*steps][:3]} | {"times V": ["v 1", "v 2"]}
heat(steps, "Four small matrices, each step of Eq. (1)", names, ["query 1", "query 2", "query 3"], numbers=True)

# %% [markdown]
r"""
**Why divide by $\sqrt{d_k}$?** Let the components of $q$ and $k$ be independent with mean 0 and variance 1. Then

$$ q \cdot k = \sum_{i=1}^{d_k} q_i k_i \quad \text{has mean } 0 \text{ and variance } d_k $$

(the paper's footnote to §3.2.1). With large $d_k$ some products are much larger than others. The softmax then gives all
weight to one key, and its gradient vanishes: a weight $w$ moves with its own score at the rate $w (1 - w)$, which is 0
for $w = 1$ as for $w = 0$. Divided by $\sqrt{d_k}$ the products have variance 1, whatever $d_k$ is.

Below, 2,000 random queries each look at 10 random keys. Each row shows the ten weights from the largest to the
smallest, on average over the queries.
"""

# %%
# CHANGE: the sizes of the keys, from 2
key_sizes = [4, 16, 64, 256, 1024]

torch.manual_seed(0)
unscaled, scaled, rates = [], [], []
for d_k in key_sizes:
    q, k = torch.randn(2000, 1, d_k), torch.randn(2000, 10, d_k)
    products = (q @ k.mT).squeeze(1)  # (2000, 10)
    check(abs(products.var() / d_k - 1) < 0.1, f"d_k = {d_k:,}: the variance of q · k is d_k, within a tenth.")
    plain, divided = products.softmax(-1), attention_weights(q, k, None).squeeze(1)
    unscaled.append(plain.sort(descending=True).values.mean(0))
    scaled.append(divided.sort(descending=True).values.mean(0))
    rates.append([(weights * (1 - weights)).sum(-1).mean().item() for weights in (plain, divided)])
rows = [f"d_k {d_k:,}" for d_k in key_sizes]
pictures = {"softmax(q · k)": torch.stack(unscaled), "softmax(q · k / √d_k)": torch.stack(scaled)}
undivided, divided = rates[-1]
check(undivided < divided, f"{rows[-1]}: undivided, the weights move at {undivided / divided:.0%} of the rate.")
heat(pictures, "Weights by rank, undivided and divided, a row for each d_k", [*map(str, range(1, 11))], rows, most=1)

# %% [markdown]
r"""
The paper compares this with *additive* attention, a small network in place of the dot product, which is the score of
[2014](../bahdanau2014/notebook.ipynb). Both need about as many operations. But the dot products of all queries with all
keys are one matrix product, which computers are best at. For large $d_k$ additive attention was better than dot
products without the division. The authors suspect vanishing gradients. The last check above compares them: it is the
mean of the sum of all $w (1 - w)$.

**Exercise.** Attention has no idea of order. Write Eq. (1) for `Q`, `K` and `V_` in one line of PyTorch. Then try it
with the rows of `K` and `V_` in another order (the same for both). You should be right again.
"""

# %%
yours = None
exercise(yours, answer)

# %% [markdown]
r"""
#### 3.2.2 Multi-head attention

One softmax makes one weighted mean. To look at several things at once, $h$ *heads* attend side by side, each in a
smaller space of its own, and a last matrix mixes what they found:

$$ \mathrm{MultiHead}(Q, K, V) = \mathrm{Concat}(\mathrm{head}_1, \ldots, \mathrm{head}_h)\, W^O, \qquad
\mathrm{head}_i = \mathrm{Attention}(Q W_i^Q, K W_i^K, V W_i^V) $$

$$ W_i^Q, W_i^K \in \mathbb{R}^{d_{model} \times d_k}, \quad W_i^V \in \mathbb{R}^{d_{model} \times d_v}, \quad
W^O \in \mathbb{R}^{h d_v \times d_{model}} $$

There are no biases. Figure 2, again drawn from the model that was run:
"""

# %%
display(image(figure2.png, figure2.title), Markdown(figure2.caption))

# %% [markdown]
r"""
In the code, the $h$ matrices $W_i^Q$ lie side by side in one matrix `W_Q`, and so do those of keys and values. One
product projects for all heads, and a reshape takes the heads apart.
"""

# %%
from papers.vaswani2017.model import MultiHeadAttention

project, attend = r"Q W_i^Q \text{ for all } i", r"\mathrm{head}_i = \mathrm{Attention}(Q W_i^Q, K W_i^K, V W_i^V)"
parts = {
    "return self._heads(self.W_Q": project,
    "return KeysValues(": r"K W_i^K,\; V W_i^V \text{ for all } i",
    "heads =": attend,
    "concat =": r"\mathrm{Concat}(\mathrm{head}_1, \ldots, \mathrm{head}_h)",
    "return self.W_O": r"\ldots\, W^O",
}
display(equations(MultiHeadAttention, parts))

attention, sizes_of = model.encoder[0].self_attention, small.model
with torch.no_grad():
    x = model._embed(source, model.E, model.source_positions, first=0)  # (B, S, d)
    heads = []
    for i in range(sizes_of.h):  # one head after the other, each with its own matrices
        keys = slice(i * sizes_of.d_k, (i + 1) * sizes_of.d_k)
        values = slice(i * sizes_of.d_v, (i + 1) * sizes_of.d_v)
        W_Q, W_K = attention.W_Q.weight[keys].T, attention.W_K.weight[keys].T  # (d, d_k) each
        W_V = attention.W_V.weight[values].T  # (d, d_v)
        heads.append(scaled_dot_product_attention(x @ W_Q, x @ W_K, x @ W_V, source_mask[:, None]))  # (B, S, d_v)
    one_by_one = torch.cat(heads, dim=-1) @ attention.W_O.weight.T  # (B, S, h d_v) -> (B, S, d)
    attended = attention.keys_values(x)
    together = attention(x, attended, source_mask[:, None, None])
    weights = attention_weights(attention.queries(x), attended.K, source_mask[:, None, None])  # (B, h, S, S)
check(torch.allclose(one_by_one, together, atol=1e-5), "Head by head, with matrices of its own, gives the same.")
check(torch.allclose(weights.sum(-1), torch.ones(B, sizes_of.h, S)), "The weights of each query add up to 1.")
panels = {f"head {i + 1}": head for i, head in enumerate(weights[0])}
heat(panels, "Weights of each head between the words, before training", english, {"head 1": english}, most=1)

# %% [markdown]
r"""
Each row is a word that looks, each column a word that is looked at. Nothing is learned yet, and the heads already
differ, because their matrices do.

**More heads cost almost nothing.** As long as $h d_k$ and $h d_v$ stay the same, there are as many parameters and as
many multiplications in the matrix products, and only the softmax has more to do. The paper takes
$d_k = d_v = d_{model} / h$, but it need not be so (Table 3, rows B).
"""

# %%
# CHANGE: h, d_k, d_v
kinds = [(1, 512, 512), (8, 64, 64), (32, 16, 16), (8, 16, 64)]

for h, d_k, d_v in kinds:
    made = MultiHeadAttention(PAPER.recipe("base", [f"h={h}", f"d_k={d_k}", f"d_v={d_v}"]).model)
    count = sum(matrix.numel() for matrix in made.parameters())
    check(count == 2 * 512 * h * d_k + 2 * 512 * h * d_v, f"h = {h}, d_k = {d_k}, d_v = {d_v}: {count:,} parameters.")

# %% [markdown]
r"""
**Exercise.** How many parameters has one attention of the big model? It has $d_{model} = 1024$, $h = 16$ and
$d_k = d_v = 64$.
"""

# %%
yours = None
exercise(yours, sum(matrix.numel() for matrix in MultiHeadAttention(PAPER.recipe("big").model).parameters()))

# %% [markdown]
r"""
#### 3.2.3 Applications of attention

The same module is used three times.

| where | queries from | keys and values from | who is hidden |
|---|---|---|---|
| encoder self-attention | the source | the source | padding |
| decoder self-attention | the target so far | the target so far | later words |
| encoder-decoder attention | the target so far | the encoder's output | padding |

Hiding is done inside Eq. (1): where a query must not look, the product is set to $-\infty$, and the softmax makes it a
weight of 0. Decoder self-attention hides later words, so that all positions can be trained at once and none sees the
word that it must predict. The decoder's input is the target shifted right by one. Its first input is no word but the
zero vector, as in v1.0: the paper does not say what stands there. Nor does it mention padding.

Below, a row is a position that looks, a column one that is looked at, and dark is allowed.
"""

# %%
from papers.vaswani2017.model import Transformer

display(equations(attention_weights, {"if mask": r"-\infty \text{ where } j \text{ is hidden from } i"}))
display(equations(Transformer._decode, {"causal_mask =": r"j \le i"}))


def padded_to(length, words):
    """Return the words and as much padding as the length needs."""
    return [*words, *["padding"] * (length - len(words))]


short = padded_to(S, [*text.source_tokens(pairs[1][0]), "</s>"])
causal = torch.ones(T, T).tril()
shifted = ["zero", *german[:-1]], padded_to(T, ["zero", *text.target_pieces(target[1].tolist())])
masks = {
    "encoder, sentence 2": source_mask[1].expand(S, S),
    "decoder, sentence 1": causal,
    "encoder-decoder, sentence 2": source_mask[1].expand(T, S),
}
across, down = (dict(zip(masks, names, strict=True)) for names in ((short, shifted[0], short), (short, *shifted)))
heat(masks, "Three masks, a row for each position that looks", across, down)

# %% [markdown]
r"""
Does the whole model keep to its masks? We ask the model, not the mask. Each word is replaced in turn by another one,
and we see which predictions move. The mask of the decoder is yours to change: without one, a word moves the very
prediction that should find it, and the model could be trained to copy and to nothing else.
"""

# %%
# CHANGE: where a target position may look, a row each. Without .tril() nothing is hidden. With .tril().triu(-1) a
# position sees itself and the one before. What does it hear of through N layers?
may_look = torch.ones(T, T, dtype=torch.bool).tril()

from dataclasses import replace


def predicted(batch):
    """Return the model's logits (B, T, V), with `may_look` as the mask of the decoder's self-attention."""
    state = model.encode(batch.source, batch.source_mask)
    x = model._embed(batch.previous, model.E, model.target_positions, first=0)  # (B, T, d)
    for layer, nothing, attended in zip(model.decoder, state.past, state.source, strict=True):
        x, _ = layer(x, nothing, attended, may_look, state.source_mask)
    return model._logits(x)


def moved(side, sentence):
    """Replace each word of one side of a sentence in turn. Return which predictions move: (words, T)."""
    found = []
    with torch.no_grad():
        for place in range(getattr(batch, side).shape[1]):
            words = getattr(batch, side).clone()
            words[sentence, place] = (words[sentence, place] + 17) % len(model.E)
            change = predicted(replace(batch, **{side: words})) - predicted(batch)
            found.append(change[sentence].abs().amax(-1) > 1e-6)
    return torch.stack(found)


hears = torch.eye(T)  # a row for each position: 1 where something of the other position has reached it
for _ in model.decoder:
    hears = ((may_look | torch.eye(T, dtype=torch.bool)).float() @ hears > 0).float()
hears = torch.cat([hears.T[1:], torch.zeros(1, T)]) > 0  # a word stands one position further in the decoder's input

later, anywhere, padded = moved("target", 0), moved("source", 0)[source_mask[0]], moved("source", 1)
check(torch.equal(later, hears), "A target word moves what hears of it through the layers, and nothing else.")
if torch.equal(may_look, causal.bool()):
    check(torch.equal(predicted(batch), model(batch)), "With the paper's mask these are the model's own predictions.")
    check(torch.equal(later, torch.ones(T, T, dtype=torch.bool).triu(1)), "A target word moves later ones only.")
check(anywhere.all(), "A source word moves every prediction.")
check(torch.equal(padded.all(-1), source_mask[1]) and torch.equal(padded.any(-1), source_mask[1]),
      "Padding moves none.")  # fmt: skip
panels = {"target word replaced": later, "source word replaced": anywhere, "sentence 2, source": padded}
rows = dict(zip(panels, (german, english, short), strict=True))
heat(panels, "Which predictions move, a row for each word that is replaced", german, rows, most=1)

# %% [markdown]
r"""
**Exercise.** §4 mentions attention *restricted* to a neighbourhood. Build the mask of a decoder whose position $i$ sees
itself and the two positions before it, for 8 positions: a tensor of 8 × 8, `True` where it may look. (`torch.ones`,
`tril` and `triu` suffice.)
"""

# %%
yours = None
distance = torch.arange(8)[:, None] - torch.arange(8)
exercise(yours, (distance >= 0) & (distance < 3))

# %% [markdown]
r"""
### 3.3 Position-wise feed-forward networks

The other kind of sub-layer is a network with one hidden layer. It sees one position at a time, with the same weights at
every position. This is Eq. (2):

$$ \mathrm{FFN}(x) = \max(0, x W_1 + b_1)\, W_2 + b_2 $$

The paper adds that these are two convolutions with kernel size 1.
"""

# %%
from torch.nn import functional as F

from papers.vaswani2017.model import FeedForward

display(equations(FeedForward, {"return": r"\max(0, x W_1 + b_1)\, W_2 + b_2"}))

feed_forward = model.encoder[0].feed_forward
W_1, b_1 = feed_forward.W_1.parameters()  # (d_ff, d), as PyTorch stores it, and (d_ff,)
W_2, b_2 = feed_forward.W_2.parameters()  # (d, d_ff), (d,)
with torch.no_grad():
    for bias in (b_1, b_2):
        bias.normal_()  # training begins with 0, and a bias of 0 would not be missed
    hidden = F.conv1d(x.mT, W_1[..., None], b_1).relu()  # (B, d_ff, S)
    convolved = F.conv1d(hidden, W_2[..., None], b_2).mT  # (B, S, d)
    check(torch.allclose(feed_forward(x), convolved, atol=1e-5), "Two convolutions with kernel size 1 are the same.")

# %% [markdown]
r"""
So words meet in attention only. If one position changes, the feed-forward network's output changes there alone, and
attention's changes everywhere.
"""

# %%
# CHANGE: which position changes
position = 3

with torch.no_grad():
    other = x[:1].clone()
    other[:, position] += torch.randn(d_model, generator=torch.Generator().manual_seed(0))
    attends = [attention(one, attention.keys_values(one), None) for one in (x[:1], other)]
    by_attention = (attends[1] - attends[0]).abs().amax(-1)  # (1, S)
    by_network = (feed_forward(other) - feed_forward(x[:1])).abs().amax(-1)
check((by_network[0] > 1e-6).nonzero().flatten().tolist() == [position], "Feed-forward: one position, no other.")
check((by_attention > 1e-6).all(), "Self-attention: every position.")
panels = {"how much each output moves": torch.cat([by_network / by_network.max(), by_attention / by_attention.max()])}
heat(panels, "How much the output moves at each word, of both sub-layers", english, ["feed-forward", "attention"])

# %% [markdown]
r"""
**Exercise.** Without the $\max(0, \cdot)$ the two matrices would be one. Compute the network without it for the vector
`x[0, 0]`, as $x M + c$ with a matrix $M$ and a vector $c$ of your own, made of `W_1`, `W_2`, `b_1` and `b_2`.
"""

# %%
yours = None
with torch.no_grad():
    exercise(yours, feed_forward.W_2(feed_forward.W_1(x[0, 0])))

# %% [markdown]
r"""
### 3.4 Embeddings and softmax

One matrix $E$ with a row for each word has three uses: it embeds source words, it embeds target words, and it turns the
decoder's output into a score for every word.

$$ x = \sqrt{d_{model}}\; E_w, \qquad p(w \mid \ldots) = \mathrm{softmax}(z E^\top)_w $$

The paper multiplies the rows by $\sqrt{d_{model}}$ and gives no reason. In v1.0 the entries of $E$ begin with variance
$1/d_{model}$. The entries of $z$ have size 1, because a norm made them, so the scores $z E^\top$ begin with variance 1.
The factor gives an embedded word entries of size 1 too, whatever $d_{model}$ is. That is also the order of size of what
is added next, the positions.
"""

# %%
embed = {
    "vectors = F.embedding": r"\sqrt{d_{model}}\; E_w",
    "vectors = vectors": r"x = 0 \text{ for the first input of the decoder, which is no word}",
    "return": r"\mathrm{Dropout}(x + PE)",
}
display(equations(Transformer._embed, embed), equations(Transformer._logits, {"return": r"z E^\top"}))

uses = model.matrices
check(uses.source is uses.target and uses.target is uses.softmax, "Source, target and softmax share one tensor.")
with torch.no_grad():
    rows = model.E[source]  # (B, S, d)
    positions = model.source_positions(0, S)  # (S, d): the next section
    embedded = model._embed(source, model.E, model.source_positions, first=0)  # (B, S, d)
    check(torch.allclose(embedded - positions, d_model**0.5 * rows, atol=1e-5), "An embedded word is √d times its row.")
    z = torch.randn(T, d_model)
    products = torch.stack([(z * row).sum(-1) for row in model.E], dim=-1)  # (T, V): a row of E at a time
    check(torch.allclose(model._logits(z), products, atol=1e-4), "A score is the product of z with a word's row.")

from papers.vaswani2017.model import sinusoids

# CHANGE: the widths, even numbers
widths = [16, 64, 256, 1024]

sizes_by_width = {"row of E": [], "row of E × √d": [], "position": []}
for d in widths:
    torch.manual_seed(0)
    few = ["N=1", f"d_model={d}", "d_ff=1", "h=1", "d_k=1", "d_v=1", "vocabulary_size=500", "path=readable"]
    E = PAPER.build_model(PAPER.recipe("base", few)).E.detach()  # (500, d)
    for label, vectors in zip(sizes_by_width, (E, E * d**0.5, sinusoids(100, d)), strict=True):
        sizes_by_width[label].append(vectors.square().mean().sqrt().item())
check(all(abs(size - 1) < 0.05 for size in sizes_by_width["row of E × √d"]), "Times √d: entries of size 1 at each d.")
curves = {label: (widths, sizes) for label, sizes in sizes_by_width.items()}
plot({"before training | d_model | root mean square": curves}, "Size of three vectors' entries, by width", log="x")

# %% [markdown]
r"""
**Exercise.** How many parameters does the sharing save in the base model? It has 37,000 words and $d_{model} = 512$.
"""

# %%
yours = None
exercise(yours, 2 * PAPER.recipe("base").text.vocabulary_size * PAPER.recipe("base").model.d_model)

# %% [markdown]
r"""
### 3.5 Positional encoding

Attention and feed-forward networks treat the words of a sentence as a set. If the words change places, the outputs
change places with them, and nothing else happens:
"""

# %%
# CHANGE: another seed gives another order
order = torch.randperm(S, generator=torch.Generator().manual_seed(0))
layer, all_visible = model.encoder[0], torch.ones(1, 1, 1, S, dtype=torch.bool)

with torch.no_grad():
    words = F.embedding(source[:1], model.E) * d_model**0.5  # (1, S, d), without positions
    alike = layer(words[:, order], all_visible), layer(words, all_visible)[:, order]
    check(torch.allclose(*alike, atol=1e-5), "Without positions, words that change places take their outputs along.")
    placed = layer(words[:, order] + sinusoids(S, d_model).float(), all_visible)
    stayed = layer(words + sinusoids(S, d_model).float(), all_visible)[:, order]
    check(not torch.allclose(placed, stayed, atol=1e-2), "With positions added, they do not.")

# %% [markdown]
r"""
So each position has a vector of its own, which is added to the embedded word. Component pair $i$ is a wave, and its
wavelength grows from $2\pi$ to nearly $10000 \cdot 2\pi$ positions:

$$ PE_{(pos, 2i)} = \sin\left(pos / 10000^{2i/d_{model}}\right), \qquad
PE_{(pos, 2i+1)} = \cos\left(pos / 10000^{2i/d_{model}}\right) $$
"""

# %%
pair = r"\left(PE_{(pos, 2i)}, PE_{(pos, 2i+1)}\right) = (\sin, \cos)"
display(equations(sinusoids, {"angle =": r"pos / 10000^{2i/d_{model}}", "return": pair}))

# CHANGE: the number of positions and the width
length, width = 60, 64

PE = sinusoids(length, width)  # (length, width)
panels = {"PE: a row is a position": PE, "PE · PEᵀ: how alike two positions are": PE @ PE.T}
display(heat(panels, "PE, a row for each position; and PE times its transpose", signed=True))
waves = {f"component {i}": (range(length), PE[:, i]) for i in (4, 5, 20, 40) if i < width}
plot({"components of PE | position | ": waves}, "Components of PE over the positions")

# %% [markdown]
r"""
**Why waves?** The authors' guess: moving by $k$ positions should be easy to learn. It is a fixed linear map. Each
sine-cosine pair turns by an angle that depends on $k$ and not on the position:

$$ \begin{pmatrix} \sin(a + b) \\ \cos(a + b) \end{pmatrix} =
\begin{pmatrix} \cos b & \sin b \\ -\sin b & \cos b \end{pmatrix}
\begin{pmatrix} \sin a \\ \cos a \end{pmatrix}, \qquad
a = \frac{pos}{10000^{2i/d}}, \quad b = \frac{k}{10000^{2i/d}} $$
"""

# %%
# CHANGE: how far to move, from 1
k = 7

b = k / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)  # (width / 2,)
sine, cosine = PE[:, 0::2], PE[:, 1::2]  # (length, width / 2) each
turned = torch.stack([sine * b.cos() + cosine * b.sin(), cosine * b.cos() - sine * b.sin()], dim=-1).flatten(1)
check(torch.allclose(turned[:-k], PE[k:]), f"One rotation for each pair moves every position by {k}.")
products = PE @ PE.T
check(torch.allclose(products.diagonal(k), products[0, k]), f"All positions that are {k} apart have the same product.")

# %% [markdown]
r"""
The paper also tried a learned table of positions and found nearly the same scores (Table 3, row E).

**Exercise.** Which pair $i$ has the wavelength nearest to 100 positions when $d_{model} = 64$?
"""

# %%
yours = None
wavelengths = 2 * math.pi * 10000 ** (2 * torch.arange(32) / 64)
exercise(yours, int((wavelengths - 100).abs().argmin()))

# %% [markdown]
r"""
## 4 Why self-attention

Table 1 of the paper compares layers that map a sequence of $n$ vectors of size $d$ to another. $k$ is the width of a
convolution's kernel, $r$ the number of positions that a restricted attention looks at.

| layer | complexity per layer | sequential operations | maximum path length |
|---|---|---|---|
| self-attention | $O(n^2 \cdot d)$ | $O(1)$ | $O(1)$ |
| recurrent | $O(n \cdot d^2)$ | $O(n)$ | $O(n)$ |
| convolutional | $O(k \cdot n \cdot d^2)$ | $O(1)$ | $O(\log_k n)$ |
| self-attention (restricted) | $O(r \cdot n \cdot d)$ | $O(1)$ | $O(n / r)$ |

*Sequential operations* are those that must wait for one another. The *path length* is how many operations lie between
an input and an output that are far apart: the longer the path, the harder it is to learn that they belong together.

Both can be counted. PyTorch's autograd keeps a graph of what was computed from what. The longest chain of matrix
products in a layer's graph is its number of sequential operations. The path length is the fewest products between the
first position's input and the last one's output, through as many layers as it takes. (The logarithm in the third row
needs *dilated* convolutions, which leave out positions. Contiguous ones need $O(n / k)$ layers, says §4. A curve that
lies over another one is dashed.)
"""

# %%
from papers.vaswani2017.complexity.layers import CONVOLUTIONAL, DILATED, RECURRENT, RESTRICTED_BARE, SELF_ATTENTION_BARE
from papers.vaswani2017.complexity.paths import path_length, sequential_operations

display(code(sequential_operations))

# CHANGE: the lengths
lengths = [4, 8, 16, 32, 64]

kinds = [SELF_ATTENTION_BARE, RECURRENT, CONVOLUTIONAL, DILATED, RESTRICTED_BARE]
torch.manual_seed(0)
chains = {kind.label: (lengths, [sequential_operations(kind.build(16), n, 16) for n in lengths]) for kind in kinds}
paths = {kind.label: (lengths, [path_length(kind, n, 16)[0] for n in lengths]) for kind in kinds}
alone, recurrent = SELF_ATTENTION_BARE.label, RECURRENT.label
check(set(chains[alone][1]) == {2}, "Self-attention: two products in a row, Q Kᵀ and that times V, at any length.")
check(set(paths[alone][1]) == {1}, "One product from any position to any other: the weights, times V.")
check(chains[recurrent][1] == lengths == paths[recurrent][1], "Recurrent: n products in a row, n on the path.")
panels = {"sequential operations | n | matrix products": chains, "longest path | n | matrix products": paths}
plot(panels, "Matrix products by n, of five layers: all in a row, and on the longest path", log="xy")

# %% [markdown]
r"""
Time and memory were measured as well, on one core of a processor ([the page](results/complexity.md)). The table below
the picture tests a sentence of §4: self-attention is faster than a recurrent layer where $n < d$, "which is most often
the case" for sentences.
"""

# %%
from papers.vaswani2017.complexity import page as costs

measured = costs.Measured(costs.RESULT)
drawing = costs.drawing(measured, reported["tables"]["table1"]["rows"])
parts = [costs.RIVALS_NOTE, costs.rivals_table(measured), costs.provenance(measured)]
display(image(png(drawing), "FLOPs and seconds of the layers by n"), Markdown("\n\n".join(parts)))

# %% [markdown]
r"""
Table 1 leaves something out: the projections. $W^Q$, $W^K$, $W^V$ and $W^O$ take $8 n d^2$ floating-point operations,
and Eq. (1) itself takes $4 n^2 d$. While $n < 2 d$ the projections are the larger part, and with them self-attention
takes more operations than the recurrent layer, which takes $4 n d^2$. The last column of the table shows at how many of
the sizes with $n < d$ it is faster nevertheless. It makes a few large products, and a recurrence makes many small ones,
one after the other.
"""

# %%
from torch.utils.flop_counter import FlopCounterMode

from papers.vaswani2017.complexity.layers import SELF_ATTENTION

# CHANGE: length and width (a multiple of 64)
n, d = 40, 512

for kind, formula in ((SELF_ATTENTION_BARE, 4 * n**2 * d), (SELF_ATTENTION, 4 * n**2 * d + 8 * n * d**2)):
    with torch.device("meta"), FlopCounterMode(display=False) as counter:  # meta: shapes without memory
        kind.build(d)(torch.zeros(1, n, d))
    check(counter.get_total_flops() == formula, f"{kind.label}, n = {n}, d = {d}: {formula:,} FLOPs, as by formula.")

# %% [markdown]
r"""
**Exercise.** With $d = 512$, at which length $n$ do the projections and Eq. (1) take equally many operations?
"""

# %%
yours = None
exercise(yours, next(n for n in range(1, 10_000) if 4 * n**2 * 512 >= 8 * n * 512**2))

# %% [markdown]
r"""
## 5 Training

### 5.1 Training data and batching

The paper reads about 4.5 million English-German and 36 million English-French pairs of WMT 2014. It cuts words into
sub-words: frequent words stay whole, rare ones become several pieces, and one vocabulary serves both languages. For
German these are byte pairs, about 37,000: start from letters, and join the most frequent pair of neighbours, again and
again. (French has 32,000 word pieces, which are found in a similar way.) `@@` marks a piece that does not end its word.
"""

# %%
# CHANGE: any German words, also some that nobody has ever written
words = "Die wirtschaftlichen Entscheidungen waren Autoschlüssel"

pieces = text.pieces(words)
check(text.segmenter.join(pieces) == words.split(), "The pieces can be joined to the words again.")
Markdown(" · ".join(f"`{piece}`" for piece in pieces))

# %% [markdown]
r"""
A minibatch of the paper has about 25,000 source and 25,000 target tokens. Pairs of similar length go together, because
a minibatch is as long as its longest sentence and the rest is padding, which is computed for nothing. Here the limit is
1,000. Both pictures show a minibatch, and their titles the padding of all.
"""

# %%
# CHANGE: the most positions of a minibatch, on the longer side; at least those of the longest sentence, 50 will do
tokens = 1000

import numpy as np

from common.train.batching import load_batch, minibatches

train = prepared.train
by_length = minibatches(train.source_lengths, train.target_lengths, replace(demo.batch, tokens=tokens), seed=1, epoch=0)
at_random = np.array_split(np.random.default_rng(0).permutation(len(train)), len(by_length))
longest = np.maximum(train.source_lengths, train.target_lengths)
check(max(len(rows) * longest[rows].max() for rows in by_length) <= tokens, f"All have at most {tokens:,} positions.")
once = np.array_equal(np.sort(np.concatenate(by_length)), np.arange(len(train)))
check(once, f"Each of {len(train):,} pairs is in one of {len(by_length):,} minibatches, and in no other.")


def padding(batches):
    """Return the share of padding among the target positions."""
    positions = sum(len(rows) * int(train.target_lengths[rows].max()) for rows in batches)
    return 1 - train.target_lengths.sum() / positions


panels = {
    f"{name}: {padding(batches):.0%} padding": load_batch(train, batches[0]).target_mask.T
    for name, batches in (("pairs of like length", by_length), ("pairs at random", at_random))
}
heat(panels, "Two minibatches, a column for each sentence, dark where it has words", most=1)

# %% [markdown]
r"""
**Exercise.** How often does the base model of the paper see each sentence? It makes 100,000 updates of 25,000 target
tokens. Take as many pairs, and target tokens in each, as `estimate` says, and round to a whole number.
"""

# %%
estimate = PAPER.recipe("base").estimate
print(f"{estimate.pairs:,} pairs of {estimate.target_tokens:g} target tokens, which is our estimate")

yours = None
exercise(yours, round(100_000 * 25_000 / (estimate.pairs * estimate.target_tokens)))

# %% [markdown]
r"""
### 5.2 Hardware and schedule

The paper trained on one machine with 8 NVIDIA P100. The cost that Table 2 prints is not counted. It is an estimate: the
time of training × 8 × 9.5 TFLOP/s, which the authors take for what a P100 sustains. On the model itself we can count:
the operations of all matrix products, forward and backward.
"""

# %%
from common.run.plan import training_flops

rate = reported["tables"]["table2"]["assumed_tflops"]["P100"] * 1e12  # FLOP/s
rows, counted = [], {}
for name in ("base", "big"):
    system, said = PAPER.recipe(name), reported["training"]["rows"][name]
    by_time, printed = said["hours"] * 3600 * 8 * rate, table2[name]["FLOPs EN-DE"]
    check(f"{by_time:.1e}" == f"{printed:.1e}", f"{name}: {said['hours']} hours at that rate are the FLOPs of Table 2.")
    counted[name] = training_flops(PAPER, system) * system.train.steps
    rows.append([name, f"{system.train.steps:,}", f"{said['hours']}", f"{printed:.1e}", f"{counted[name]:.1e}",
                 f"{counted[name] / by_time:.0%}"])  # fmt: skip
header = ["English-German", "updates", "hours, printed", "FLOPs, printed", "FLOPs, counted here", "share of the rate"]
Markdown(table(header, rows, right=range(1, 6)))

# %% [markdown]
r"""
The last column is what the eight GPUs sustained of the rate that they were taken to have. (We counted with sentences as
long as `estimate` says.) How long would it take on another machine?
"""

# %%
# CHANGE: how many GPUs, the TFLOP/s of each, and the share of it that a training sustains
gpus, tflops, share = 1, reported["tables"]["table2"]["assumed_tflops"]["P100"], 0.3

hours = {name: flops / (gpus * tflops * 1e12 * share) / 3600 for name, flops in counted.items()}
Markdown("\n".join(f"- {name}: {needed:,.1f} hours" for name, needed in hours.items()))

# %% [markdown]
r"""
**Exercise.** How many seconds does an update of the base model take, by its 12 hours? (The text of §5.2 says "about
0.4".)
"""

# %%
yours = None
said = reported["training"]["rows"]["base"]
exercise(yours, said["hours"] * 3600 / said["updates"])

# %% [markdown]
r"""
### 5.3 Optimiser

Adam ([Kingma and Ba 2015](https://arxiv.org/abs/1412.6980)) keeps a running mean $m$ of each parameter's gradient $g$,
and a running mean $v$ of its square. Where a gradient stays the same, a step is as long as the learning rate, however
large or small the gradient is. Where it changes its sign, steps are shorter.

$$ m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \qquad
\theta_t = \theta_{t-1} - lrate \cdot \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} $$

The paper has $\beta_1 = 0.9$, $\beta_2 = 0.98$ and $\epsilon = 10^{-9}$. Adam's own proposal is $\beta_2 = 0.999$. With
0.98, $v$ remembers about the last 50 gradients in place of the last 1,000. The code below has no line for these three
formulas: it hands the constants to PyTorch's Adam. That PyTorch's Adam computes the formulas is what the check shows,
with three updates written out by hand. The learning rate is Eq. (3):

$$ lrate = d_{model}^{-0.5} \cdot \min\left(step\_num^{-0.5},\; step\_num \cdot warmup\_steps^{-1.5}\right) $$
"""

# %%
from papers.vaswani2017.optim import build_optimization, learning_rate

rate = r"d_{model}^{-0.5} \cdot \min\left(step\_num^{-0.5},\; step\_num \cdot warmup\_steps^{-1.5}\right)"
display(equations(learning_rate, {"return": rate}))
display(equations(build_optimization, {"adam = ": r"\beta_1, \; \beta_2, \; \epsilon"}))

holder = torch.nn.Module()
holder.theta = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
optimization, given = PAPER.build_optimization(holder, demo), demo.optimizer
theta, m, v = holder.theta.detach().clone(), 0, 0
for step in (1, 2, 3):  # minimise the sum of cubes: the gradient is 3 θ²
    optimization.optimizer.param_groups[0]["lr"] = optimization.learning_rate(step)
    holder.theta.grad = 3 * holder.theta.detach() ** 2
    optimization.optimizer.step()
    g = 3 * theta**2
    m, v = given.beta1 * m + (1 - given.beta1) * g, given.beta2 * v + (1 - given.beta2) * g**2
    by_formula = (m / (1 - given.beta1**step)) / ((v / (1 - given.beta2**step)).sqrt() + given.epsilon)
    theta = theta - learning_rate(step, demo.model.d_model, given.warmup_steps) * by_formula
check(torch.allclose(theta, holder.theta, rtol=0, atol=1e-9), "Three updates by the formula are the optimiser's.")

# %% [markdown]
r"""
The rate rises in a straight line for `warmup_steps` updates and then falls with the square root of the step. The two
terms meet at the peak. A wider model gets smaller steps. Why a warm-up? The paper does not say.
[Xiong et al. (2020)](https://arxiv.org/abs/2002.04745) found a reason: with the norm after the sum, the gradients near
the output are large before training, and large steps then do harm. Try it: the training at the end of this section has
a cell to change.
"""

# %%
# CHANGE: warmup_steps
warmups = {"base": 4000, "big": 4000, "base, shorter warm-up": 1000}

steps, curves = range(1, 40001, 50), {}
for label, warmup in warmups.items():
    d = PAPER.recipe(label.partition(",")[0]).model.d_model
    curves[f"{label}, d = {d:,}"] = (steps, [learning_rate(step, d, warmup) for step in steps])
    peak = max(range(1, 2 * warmup), key=lambda step: learning_rate(step, d, warmup))
    check(peak == warmup, f"{label}: the rate is highest at update {peak:,}.")
plot({"Eq. (3) | update | learning rate": curves}, "The learning rate over the updates, a curve for each warm-up")

# %% [markdown]
r"""
**Exercise.** How high is the peak of the base model? Find a formula in $d_{model}$ and `warmup_steps` alone.
"""

# %%
yours = None
exercise(yours, learning_rate(4000, 512, 4000))

# %% [markdown]
r"""
### 5.4 Regularisation

**Residual dropout.** While it trains, the model sets each entry of every sub-layer's output to 0 with probability
$P_{drop}$, before the sum, and multiplies the others by $1 / (1 - P_{drop})$. It does the same with the sums of
embeddings and positions. It does it nowhere else: not inside the feed-forward network, not on the weights of attention.
Many implementations do both. (The parser of §6.3 alone drops weights of attention.)

**Label smoothing.** The target is not sure of itself: the true word $y$ gets $1 - \epsilon_{ls}$, with
$\epsilon_{ls} = 0.1$, and the other words share the rest. The loss is the cross-entropy against this target:

$$ q_w = \begin{cases} 1 - \epsilon_{ls} & w = y \\ \epsilon_{ls} / (V - 1) & w \neq y \end{cases}, \qquad
L = -\sum_w q_w \log p_w \;\ge\; -\sum_w q_w \log q_w $$

The paper does not say how the rest is shared. The formula is v1.0's. PyTorch's option `label_smoothing` shares it among
all $V$ words, the true one too, which is why a factor stands in the code.
"""

# %%
from common.train.loss import cross_entropy_sum

display(equations(cross_entropy_sum, {"return": r"-\sum_w q_w \log p_w"}))

torch.manual_seed(0)
frame, zero = AddAndNorm(PAPER.recipe("base").model), torch.zeros(1, 1000, 512)
frame.norm = torch.nn.Identity()
dropped = frame.train()(zero, torch.ones(1, 1000, 512))
check(abs((dropped == 0).float().mean() - 0.1) < 0.01, "About a tenth of a sub-layer's output is dropped in training.")
check(torch.equal(frame.eval()(zero, zero + 1), zero + 1), "Nothing is dropped afterwards.")

# CHANGE: epsilon, above 0 and at most 0.6, and the number of words, at least 3
epsilon, V = 0.1, 6

truth, here = torch.tensor([[0]]), torch.tensor([[True]])
sure = [s / 1000 for s in range(300, 1000)]  # probability that the model gives to the true word
loss, plain = [], []
for p in sure:
    log_p = torch.tensor([p, *[(1 - p) / (V - 1)] * (V - 1)], dtype=torch.float64).log()
    loss.append(float(cross_entropy_sum(log_p[None, None], truth, here, epsilon)))
    plain.append(float(cross_entropy_sum(log_p[None, None], truth, here)))
q = torch.tensor([1 - epsilon, *[epsilon / (V - 1)] * (V - 1)])
lowest = sure[np.argmin(loss)]
check(abs(lowest - (1 - epsilon)) < 0.001, f"The loss is lowest at {1 - epsilon:g}, the target's own value.")
check(abs(min(loss) + (q * q.log()).sum()) < 1e-5, "There it is the entropy of the target, and not 0.")
targets = {"target": torch.stack([F.one_hot(torch.tensor(0), V), q])}
words = ["true", *[f"word {number}" for number in range(2, V + 1)]]
display(heat(targets, "Probability of each word in both targets", words, ["plain", "smoothed"], numbers=True))
curves = {"smoothed": (sure, loss), "not smoothed": (sure, plain)}
plot({"one word | probability of the true word | loss in nats": curves}, "Both losses, by the true word's probability")

# %% [markdown]
r"""
So a model trained with smoothing is never quite sure. It pays for this in perplexity, which is measured without
smoothing. The paper says so too: smoothing "hurts perplexity" and improves BLEU.

**Exercise.** What is the lowest possible loss of the base model, in nats a token, with $\epsilon_{ls} = 0.1$ and
37,000 words? A training loss with smoothing never falls below this, however good the model is.
"""

# %%
yours = None
V, epsilon = 37_000, 0.1
exercise(yours, -(1 - epsilon) * math.log(1 - epsilon) - epsilon * math.log(epsilon / (V - 1)))

# %% [markdown]
r"""
### The training, whole

Now all of it together: the model of section 3, batches of §5.1, the optimiser of §5.3, dropout and smoothing of §5.4.
The recipe [`demo/base`](recipes/demo/base.yaml) has the form of the base model and smaller sizes, each beside the
paper's. It learns English to German from the demo's generated pairs. (The engine's own loop is
[`common/train/loop.py`](../../common/train/loop.py). It makes the same updates and can also stop, resume and share.)

If you change the training, some checks further down may fail. They are about the model that is trained here.
"""

# %%
# CHANGE: for example ["warmup_steps=1"], ["label_smoothing=0.0"], ["P_drop=0.0"], ["h=1", "d_k=64", "d_v=64"], ["N=1"]
changes = []

from itertools import count, islice

from common.train.loop import negative_log_likelihood

recipe = PAPER.recipe("demo/base", ["path=readable", *changes])
torch.manual_seed(recipe.train.seed)
learner = PAPER.build_model(recipe).train()
optimization = PAPER.build_optimization(learner, recipe)


def all_epochs():
    """Yield the pairs of each minibatch, epoch after epoch."""
    for epoch in count():
        yield from minibatches(train.source_lengths, train.target_lengths, recipe.batch, recipe.train.seed, epoch)


losses, rates, dev, kept = [], [], {}, []
for step, rows in enumerate(islice(all_epochs(), recipe.train.steps), start=1):
    minibatch = load_batch(train, rows)
    rates.append(optimization.learning_rate(step))  # Eq. (3)
    optimization.optimizer.param_groups[0]["lr"] = rates[-1]
    optimization.optimizer.zero_grad()
    logits = learner(minibatch)  # (B, T, V): all positions at once
    loss = cross_entropy_sum(logits, minibatch.target, minibatch.target_mask, recipe.train.label_smoothing)
    loss = loss / minibatch.target_mask.sum()  # the mean over all target tokens
    loss.backward()
    optimization.optimizer.step()
    losses.append(loss.item())
    if step % 100 == 0:
        dev[step] = negative_log_likelihood(learner, prepared.valid).nll_per_token  # without smoothing
        learner.train()
    if step > recipe.train.steps - 5 * recipe.train.checkpoint_every and step % recipe.train.checkpoint_every == 0:
        kept.append({name: tensor.clone() for name, tensor in learner.state_dict().items()})

V, epsilon = recipe.text.vocabulary_size, recipe.train.label_smoothing
floor = -(1 - epsilon) * math.log(1 - epsilon) - epsilon * math.log(epsilon / (V - 1)) if epsilon else 0
check(min(losses) > floor, "The training's loss stays above its lowest possible value.")
updates = range(1, len(losses) + 1)
curves = {
    f"training, smoothed by {epsilon:g}": (updates, losses),
    "development, not smoothed": ([*dev], [*dev.values()]),
    "lowest possible in training": ([1, len(losses)], [floor, floor]),
}
display(plot({"nats a token | update | ": curves}, "Losses over the updates, and the lowest possible of the training"))
plot({"learning rate | update | ": {"rate": rates}}, "The learning rate over the updates")

# %% [markdown]
r"""
**Exercise.** Table 3 measures models by their perplexity on the development set, $e$ to the mean loss in nats. What is
this model's? Compute it from `dev`.
"""

# %%
yours = None
exercise(yours, math.exp(dev[max(dev)]))

# %% [markdown]
r"""
## 6 Results

### 6.1 Machine translation

**Averaged checkpoints.** The base model that the paper scores is the mean of its last five checkpoints, parameter by
parameter. So is ours:
"""

# %%
scores = []
for weights in kept:
    learner.load_state_dict(weights)
    scores.append(negative_log_likelihood(learner, prepared.valid).nll_per_token)
learner.load_state_dict({name: torch.stack([weights[name] for weights in kept]).mean(0) for name in kept[0]})
averaged = negative_log_likelihood(learner, prepared.valid).nll_per_token
check(averaged < min(scores), "The mean of five checkpoints is better than each of the five.")

# %% [markdown]
r"""
**One word at a time.** Training computes all positions at once. Translating cannot, because each word is chosen from
the probabilities that the words before it gave. The model's `step` computes one position and keeps the keys and values
of those before. Both go through the same lines of code:
"""

# %%
learner.eval()
with torch.no_grad():
    state, stepped = learner.encode(source, source_mask), []
    for previous in batch.previous.unbind(1):  # (B,) at a time
        scores, state = learner.step(previous, state)  # (B, V)
        stepped.append(scores)
    check(torch.allclose(torch.stack(stepped, 1), learner(batch), atol=1e-4), "Step by step gives the same.")
check(state.past[0].length == T, f"After {T} words each layer keeps {T} keys and values.")

# %% [markdown]
r"""
**Beam search.** The paper keeps the 4 best beginnings of a translation, lengthens each by every word, and keeps the 4
best again. Long translations are less probable than short ones, so log-probabilities are divided by a length penalty,
with $\alpha = 0.6$:

$$ score(Y) = \frac{\log p(Y \mid X)}{lp(Y)}, \qquad lp(Y) = \left(\frac{5 + |Y|}{6}\right)^\alpha $$

The paper cites [Wu et al. (2016)](https://arxiv.org/abs/1609.08144) for it; the formula is theirs. A translation has at
most 50 tokens more than its source.
"""

# %%
from common.decode.beam import length_penalty
from common.decode.translate import decode_ids

display(equations(length_penalty, {"return float(((5": r"\left(\frac{5 + |Y|}{6}\right)^\alpha"}))

lines = prepared.lines("test")
found = decode_ids(learner, [text.encode_source(line) for line in lines["source"][:200]], recipe.decode)
written = [text.detokenise(text.target_tokens(hypothesis.tokens)) for hypothesis in found]
right = sum(line == wanted for line, wanted in zip(written, lines["reference"], strict=False))
check(right > 100, "Of 200 sentences that it has never seen, it translates more than half without any fault.")

# %% [markdown]
r"""
### Your own sentence

Write one and run the cell below the next. The language is small: these words are most of it. The grammar has main and
subordinate clauses, relative clauses, questions, passives, negation, adverbs and numbers, in present, past, perfect and
future.
"""

# %%
known = {word.strip(".,;?") for line in prepared.lines("valid")["source"] for word in line.split()}
Markdown(" ".join(sorted(word for word in known if word.isalpha() and not word.istitle()) + ["Anna", "Paul", "Maria"]))

# %%
# CHANGE: your sentence
sentence = "Because the doctor sold his car, Anna must work."


def translate(english):
    """Return the ids of a sentence and of its best translation, both with EOS."""
    best = decode_ids(learner, [text.encode_source(english)], recipe.decode)[0]
    return [*text.encode_source(english), EOS], [*best.tokens, EOS]


read, wrote = translate(sentence)
Markdown(f"> {sentence}\n>\n> **{text.detokenise(text.target_tokens(wrote))}**")

# %% [markdown]
r"""
What did it look at? Each row below is a word that it writes, each column a word of your sentence, and the darker a
cell, the larger the weight. Where the two languages have the same order, the dark cells go down a diagonal. Where
German puts a verb last, they jump.
"""

# %%
one, other = pad([read]), pad([wrote])
maps = learner.attention_maps(Batch(*one, *other))
across = [*text.source_tokens(sentence), "</s>"]
down = [*text.target_pieces(wrote), "</s>"]
layers = {f"layer {n}, mean of the heads": layer[0].mean(0) for n, layer in enumerate(maps.source, start=1)}
heads = {f"head {h}": head for h, head in enumerate(maps.source[-1, 0], start=1)}  # (T, S) each
display(heat(layers, "Attention from written to read words", across, {[*layers][0]: down}, most=1))
display(Markdown("The heads of the last layer:"))
heat(heads, "The same by head", across, {"head 1": down}, most=1)

# %% [markdown]
r"""
**Exercise.** Find one of the 200 test sentences above that it gets wrong, and put its number, from 0, in place of
`None`. `lines["source"]`, `lines["reference"]` and `written` have them all. Then say which word misled it: put the
sentence into the cell that translates yours, and replace one word at a time until the translation is right.
"""

# %%
yours = None
faulty = [line != wanted for line, wanted in zip(written, lines["reference"], strict=False)]
if yours is not None:
    print(lines["source"][yours], f"wanted:  {lines['reference'][yours]}", f"written: {written[yours]}", sep="\n")
exercise(None if yours is None else faulty[yours], True)

# %% [markdown]
r"""
### Our scores on real text

What follows is read from the results that are committed in [`results/`](results/). Each was made by a run whose recipe,
commit, data, seed and machine are recorded. The paper's own text takes hours to days of a GPU, which was not at hand;
the runs here read less text and have smaller models. So **compare within one picture or table, and not with what is
printed.**

[Multi30k](results/multi30k/tables.md) is 29,000 captions of photographs. A published small Transformer on the same text
([Wu et al. 2021](https://arxiv.org/abs/2105.14462)) is the yardstick. The runs "as Wu et al." follow its training, the
others make fewer and smaller updates, for one CPU core. A filled diamond is a score from a log that they published. **A
hollow one is quoted from memory of their paper**, and nobody has compared it with the page: do not cite it from here.

**Each of our points is one training.** Where there are three, they differ in nothing but the seed, and you see how far
that alone takes them apart. The bar is the interval of the first of them. It covers the choice of the test's sentences
and not the seed. The runs "as Wu et al." have one seed, so their small differences from Wu et al. are open.
"""

# %%
from common.report.results import read_results

theirs = read_yaml(PAPER.root / "reported-wu2021.yaml")
bars = []  # label, BLEU of each seed, interval of the first, theirs
for result in read_results(PAPER.root / "results" / "multi30k").values():
    for test in result.file.sets:
        columns = [training.column(test_set=test) for training in result.trainings]
        bars.append((f"{result.title}, {result.pair}, {test}", [column.bleu for column in columns], columns[0].interval,
                     theirs["scores"][result.pair][test]))  # fmt: skip
bars.sort(key=lambda bar: bar[0], reverse=True)
drawing = Figure(figsize=(9, 0.28 * len(bars) + 0.9), layout="constrained")
axes = drawing.subplots()
for row, (_, bleu, (low, high), their) in enumerate(bars):
    axes.plot([low, high], [row, row], color="#0072B2", linewidth=3, alpha=0.5)
    axes.plot(bleu, [row] * len(bleu), "o", color="#0072B2", label="ours, a point for each seed")
    mark, source = "none" if their["source"] == "from memory" else "full", f"{theirs['label']}, {their['source']}"
    axes.plot(their["BLEU"], row, "D", color="#D55E00", markersize=7, fillstyle=mark, label=source)
axes.set_yticks(range(len(bars)), [label for label, *_ in bars], fontsize=9)
axes.set_xlabel("BLEU, lower-cased and tokenised")
marks = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}  # each once
axes.legend(marks.values(), marks.keys(), frameon=False, fontsize=9, loc="lower left")
axes.spines[["top", "right"]].set_visible(False)
display(image(png(drawing), "BLEU of our runs on each test set, beside theirs"), Markdown(theirs["source"]))

# %% [markdown]
r"""
Table 2, with our numbers beside the printed ones, for each real text on which a Transformer of this repository has
been trained and scored so far, and a line with the names of those without a score. Each score is one training, as
above. The paper's numbers are on newstest2014 everywhere. What is not the paper's but of Wu et al. says so in its cell,
and where it is known from. RNNsearch beside these Transformers, at the same cost:
[both papers](../lineage/results/europarl-same-small/tables.md).
"""

# %%
from common.markdown import without_columns
from common.report.notebook import committed, show

scales = ("multi30k", "europarl-same-small", "europarl-small", "europarl")
sections = {scale: committed(PAPER, scale) for scale in scales}
for section in sections.values():
    if section:
        show(replace(section, markdown=without_columns(section.markdown, "the run")), "Table 2: BLEU")
if missing := [scale for scale in scales if sections[scale] is None]:
    print(f"No results are committed yet of {', '.join(missing)}.")

# %% [markdown]
r"""
### 6.2 Model variations

Table 3 changes the base model, mostly one thing at a time, and measures on the development set. This is what the paper
prints. **No number in the picture is ours.**
"""

# %%
# CHANGE: "PPL" is the perplexity, where less is better.
measure = "BLEU"

table3 = reported["tables"]["table3"]["rows"]
base = table3["table3-base"][measure]
changes = {row["label"]: row[measure] - base for row in table3.values()}
drawing = Figure(figsize=(8, 0.24 * len(changes) + 0.7), layout="constrained")
axes = drawing.subplots()
better = [(change > 0) == (measure == "BLEU") for change in changes.values()]
axes.barh([*changes], [*changes.values()], color=["#009E73" if good else "#D55E00" for good in better])
axes.invert_yaxis()
axes.axvline(0, color="black", linewidth=0.8)
axes.set_xlabel(f"{measure} above or below the base model's {base}, newstest2013, as printed")
axes.tick_params(labelsize=9)
axes.spines[["top", "right"]].set_visible(False)
image(png(drawing), f"{measure} of each row of Table 3, as a bar from the base model's")

# %% [markdown]
r"""
One head is worse than eight, and too many are worse again (A). Smaller keys do harm (B). Wider models are better, and
eight layers have the better perplexity but not the better BLEU (C). Without dropout, both are worse. Without label
smoothing, perplexity is better and BLEU is not (D). Learned positions change almost nothing (E).

The last column of Table 3 is the number of parameters, which follows from the equations:

$$ \underbrace{2 d h d_k + 2 d h d_v}_{A:\ \text{an attention}} \qquad
\underbrace{2 d\, d_{ff} + d_{ff} + d}_{F:\ \text{feed-forward}} \qquad
\underbrace{2 d}_{\text{a norm}} \qquad
N\,\big[(A + F + 2 \cdot 2 d) + (2 A + F + 3 \cdot 2 d)\big] + V d $$

Learned positions (E) add a table of $L$ rows for each stack, $2 L d$.
"""

# %%
# CHANGE: another row of Table 3, such as "table3-B-dk16" or "table3-E-learned", or "big"
name = "base"

from common.run.plan import parameter_counts

row = PAPER.recipe(name)
size, V = row.model, row.text.vocabulary_size
A = 2 * size.d_model * size.h * size.d_k + 2 * size.d_model * size.h * size.d_v
feed = 2 * size.d_model * size.d_ff + size.d_ff + size.d_model
total = size.N * ((A + feed + 4 * size.d_model) + (2 * A + feed + 6 * size.d_model)) + V * size.d_model
total += 2 * (size.learned_positions or 0) * size.d_model
counts = parameter_counts(PAPER, row)
check(sum(counts.values()) == total, f"{name}: {total:,} parameters, by the formula and counted on the model.")
drawing = Figure(figsize=(8, 0.3 * len(counts) + 0.6), layout="constrained")
axes = drawing.subplots()
axes.barh([*counts][::-1], [count / 1e6 for count in counts.values()][::-1], color="#0072B2")
axes.set_xlabel("million parameters")
axes.spines[["top", "right"]].set_visible(False)
image(png(drawing), "Millions of parameters, a bar for each part of the model")

# %% [markdown]
r"""
Table 3 prints other totals than the equations give. The authors' code explains most of them with more rows in the
embedding and biases in the attention. The last two columns below count both ways, and the text under them says how many
printed totals each gives. [We tried](results/parameters.md) many other ways to count.
"""

# %%
from papers.vaswani2017.parameters import totals

Markdown(totals(reported["tables"]["table3"]["rows"]))

# %% [markdown]
r"""
**Exercise.** How many parameters has the big model, by the formula? ($N = 6$, $d = 1024$, $d_{ff} = 4096$, $h = 16$,
$d_k = d_v = 64$, $V = 37000$.)
"""

# %%
yours = None
exercise(yours, sum(parameter_counts(PAPER, PAPER.recipe("big")).values()))

# %% [markdown]
r"""
All these rows are also recipes for Multi30k, an eighth as wide, to be trained with several seeds (D12 in
[the README](README.md#deviations), which also has [the commands](README.md#table-3-with-seeds)). Their scores, as far
as they are committed:
"""

# %%
with_seeds = committed(PAPER, "multi30k-table3")
show(with_seeds and lighter(with_seeds), "Table 3: BLEU", "Differences", "Claims")

# %% [markdown]
r"""
### 6.3 English constituency parsing

The last experiment asks whether the model can do something else. A parser is a translator whose target language is
trees, written as a line of symbols: a phrase opens with its label and closes with `/` and the label, and a word is
written as its part of speech alone.
"""

# %%
from common.trees.linear import linearise, restore
from common.trees.tree import read_trees

# CHANGE: another tree
tree = read_trees("(S (NP (DT the) (NN cat)) (VP (VBZ sees) (NP (DT a) (NN bird))))", "notebook")[0]

symbols = linearise(tree)
check(restore(symbols, tree.words)[0] == tree, "The tree comes back from its symbols and the words.")
Markdown(f"source: `{' '.join(tree.words)}`\n\ntarget: `{' '.join(symbols)}`")

# %% [markdown]
r"""
The Wall Street Journal's trees, on which the paper reports Table 4, need a licence. [The README](README.md#the-parser)
says how a parser is trained on theirs or on free ones. This is a small one for free trees, and where it looks while it
writes one:
"""

# %%
parsers = committed(PAPER, "parsing")
show(parsers and lighter(parsers), "Table 4", "What the parser reads")

# %% [markdown]
r"""
**Exercise.** How many symbols has the target of a tree with $w$ words and $p$ phrases? Give it for 40 words and 31
phrases. The line above tells you the rule, and a check compares the rule with your tree.
"""

# %%
yours = None
p = sum(opens for node, opens in tree.visits() if node.children)
check(len(symbols) == len(tree.words) + 2 * p, f"The rule holds for the tree above, which has {p} phrases.")
exercise(yours, 40 + 2 * 31)

# %% [markdown]
r"""
### Attention visualisations

The paper ends with pictures of encoder self-attention: lines from each word to the words that it looks at (Figures 3 to
5). The authors chose words and heads by eye. Here rules choose them ([`figures.py`](figures.py)), so nothing is picked
because it looks good. First your own sentence in the model that you trained, then the paper's two sentences in the
small base model that was trained on Europarl.
"""

# %%
from papers.vaswani2017.figures import chosen_layer, unlike_heads, whole_words

# CHANGE: the layer of the encoder, from 1
layer = 2

of_layer = maps.encoder[layer - 1, 0]  # (h, S, S): what each head gives from each piece of a word to each
own = unlike_heads(whole_words(across, of_layer.double().numpy()), f"Your sentence, layer {layer}")
display(image(own.png, "Lines from the words of your sentence to the words that they look at, for two heads"))
Markdown(own.caption)

# %%
show(lighter(sections["europarl-small"]), "Figure")

# %% [markdown]
r"""
Many lines are grey. How much of the weight goes to punctuation and to `</s>`, on average over the words that look? If
every word looked everywhere alike, it would be their share of the positions.
"""

# %%
drawn_from = read_results(PAPER.root / "results" / "multi30k")["base"].attention[:2]
kept = [(example.source, example.weights("encoder")) for example in drawn_from]
sentences = [whole_words(words, weights[chosen_layer(len(weights))]) for words, weights in kept]
rows = []
for one in sentences:
    shares, even = one.heads[:, :, one.marks].sum(-1).mean(-1), one.marks.mean()  # (h,), and a number
    rows.append([" ".join(one.words), *(f"{part:.0%}" for part in (shares.min(), shares.max(), even))])
    check((shares > even).all(), f"“{' '.join(one.words[:3])} ...”: every head gives more than that.")
header = ["sentence of Multi30k", "head with least", "head with most", "share of the positions"]
Markdown(table(header, rows, right=(1, 2, 3)))

# %% [markdown]
r"""
Why they get more is not shown here. [Clark et al. (2019)](https://arxiv.org/abs/1906.04341) saw heads of BERT, another
Transformer, look at a mark that ends a sentence, and suspect that a head does so where it has nothing to look for: its
weights must add up to 1 there too.

**Exercise.** How much does each head of `of_layer` give to the last position of your sentence, `</s>`, on average over
all positions that look? Compute a number for each head, (h,).
"""

# %%
yours = None
exercise(yours, of_layer[:, :, -1].mean(-1))

# %% [markdown]
r"""
## 7 Where to go from here

- [`model.py`](model.py): the whole model, in the order of section 3. [`fast.py`](fast.py): the same for GPUs.
- [`README.md`](README.md): every question that the paper leaves open with the answer assumed here, and every deviation.
- [`recipes/wmt14/base.yaml`](recipes/wmt14/base.yaml): each number of the base model with its source. Each row of
  Table 3 is a recipe beside it.
- [The notebook of 2014](../bahdanau2014/notebook.ipynb): attention when it was still the helper of a recurrent network.
- To train on your own text: [the papers' data](../../README.md#the-papers-data).
"""
