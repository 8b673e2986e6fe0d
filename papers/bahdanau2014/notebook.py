# %% [markdown]
r"""
# Bahdanau, Cho and Bengio 2014, read with the code running

*Neural Machine Translation by Jointly Learning to Align and Translate*
([arXiv:1409.0473](https://arxiv.org/abs/1409.0473), ICLR 2015) is where attention in neural translation begins. Have
the paper beside you: each section here names the part of it that it reads.

Nothing of the model is written in this notebook. Each equation stands above the very lines of [`model.py`](model.py)
that compute it, copied from that file when the cell runs. All runs on one processor core in two to three minutes.

| here | in the paper | |
|---|---|---|
| [1. The claim](#1.-The-claim) | §1, Table 1 | one vector for a whole sentence is too little |
| [2. Background](#2.-Background) | §2, Eq. (1) to (3) | words become numbers; an encoder, a decoder, one vector |
| [3. The decoder that searches](#3.-The-decoder-that-searches) | §3.1, Eq. (4) to (6), Figure 1 | attention |
| [4. The encoder](#4.-The-encoder) | §3.2, Eq. (7), App. A.2.1 | an annotation for each source word |
| [5. Gated units](#5.-Gated-units) | App. A.1.1 | how a state remembers |
| [6. The alignment model](#6.-The-alignment-model) | App. A.1.2, B.1 | why alignment begins with a single vector |
| [7. From a state to a word](#7.-From-a-state-to-a-word) | App. A.2.2 | three readings of one paper; maxout |
| [8. At the paper's size](#8.-At-the-paper's-size) | App. A.2 | 80,443,000 parameters, counted |
| [9. Training](#9.-Training) | App. B, §4.2 | minibatches, clipping, Adadelta; two small models are trained |
| [10. Decoding](#10.-Decoding) | §4.2 | beam search; **your own sentence**, translated and aligned |
| [11. Results](#11.-Results) | §5, App. C | Figures 2 and 3 and Tables 1 and 3 on real text |
| [12. What the paper leaves open](#12.-What-the-paper-leaves-open) | | and where to go from here |

A line that begins with ✓ is an assertion: the notebook stops if it does not hold. Each section has something to
**change** and an **exercise**. Write your answer in place of `None` and run the cell: it says whether you are right.

Letters are the paper's: x source words, y target words, h annotations, s decoder states, c context vectors, e
energies, α weights. B sentences in a batch, S source and T target positions (the paper's $T_x$ and $T_y$), n hidden
units, n′ alignment units, m embedding size, l maxout units, V words. A vector is a row, so the paper's $W x$ is
`x @ W.T`. "GroundHog" is the authors' own code, which decides where the paper is silent.
"""

# %%
import sys
from html import unescape

sys.path.insert(0, "../..")  # the repository's root

import torch
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from common.report.notebook import check, code, drawn, equations, exercise, picture, shapes
from common.report.page import COLOURS
from papers.bahdanau2014.paper import PAPER

torch.set_num_threads(1)
Markdown(f"*{PAPER.title}*. {PAPER.citation}.")

# %% [markdown]
r"""
## 1. The claim

**§1, Table 1.** Until then a network read the source sentence into *one vector of fixed length*, and wrote the
translation from that vector. However long the sentence, the vector has as many numbers. The authors suspect that it
is the bottleneck, above all for long sentences. Their cure: keep one vector for *each* source word, and let the
decoder look all of them over before it writes each target word.

**RNNsearch** does that. **RNNencdec** is the same decoder with the one fixed vector. The number in a name is the
longest sentence of its training text, in words. RNNsearch-50\* was trained longer. Moses is a system without a neural
network.

These bars are the paper's numbers, English to French. Ours are in [section 11](#11.-Results).
"""

# %%
from common.yaml_files import read_yaml

printed = read_yaml(PAPER.root / "reported.yaml")["tables"]["table1"]["rows"]
labels = [row["label"] for row in printed.values()]
drawing = Figure(figsize=(7.5, 2.8), layout="constrained")
axes = drawing.subplots()
axes.barh(labels, [row["No UNK"] for row in printed.values()], color="#DDDDDD", label="sentences without unknown words")
bars = axes.barh(labels, [row["All"] for row in printed.values()], height=0.5, color=COLOURS[0], label="all sentences")
axes.bar_label(bars, fmt="%.2f", label_type="center", color="white")
axes.invert_yaxis()
axes.set(xlabel="BLEU on newstest2014, as the paper prints it (Table 1)")
axes.spines[["top", "right"]].set_visible(False)
drawing.legend(loc="outside upper center", ncols=2, frameon=False)
drawn(drawing, "The paper's Table 1 as bars: RNNsearch's are longer than RNNencdec's at both length limits")

# %% [markdown]
r"""
**Change** `"All"` to `"No UNK"` below, and see which system is best then. (Moses knows all words of its training
text, the networks 30,000 of each language.)
"""

# %%
column = "All"
best = max(printed.values(), key=lambda row: row[column])
Markdown(f"Best in the column *{column}*: **{best['label']}**, {best[column]:.2f}")

# %% [markdown]
r"""
**Exercise 1.** RNNencdec gains when it is trained on longer sentences (30 to 50 words). By how many BLEU, in the
column All? And how many does it gain if it may search instead (RNNencdec-50 to RNNsearch-50)? Give both.
"""

# %%
yours = None  # for example: torch.tensor([1.23, 4.56])

scores = {name: row["All"] for name, row in printed.items()}
longer, search = scores["rnnencdec-50"] - scores["rnnencdec-30"], scores["rnnsearch-50"] - scores["rnnencdec-50"]
exercise(yours, torch.tensor([longer, search]))

# %% [markdown]
r"""
## 2. Background

### Words become numbers

**§2, §4.1.** A sentence is a sequence $\mathbf{x} = (x_1, \dots, x_{T_x})$ of words out of a *shortlist*: the most
frequent words of the language. The paper takes 30,000 and calls every other word UNK. It splits text with the Moses
tokeniser, as we do. Its text is English-French of WMT '14, five corpora with 850 million words, from which data
selection keeps 348 million; [what selection does on half of Europarl](results/selection.md) was measured. (Its related
work, §6, is in [the notebook between the papers](../lineage/notebook.ipynb).)

This notebook reads a small *generated* language that comes with the repository, made by a grammar. It has English and
French word order, agreement and inflection, and about a thousand words, so that two models can learn it here within
two minutes. Section 11 has real text. The recipe below is the repository's recipe for this text with other sizes:
each of n, m, n′, l is another number, so that a shape says what it is. `path=readable` means `model.py` as it stands.
"""

# %%
from collections import Counter

from common.corpus.declaration import DECLARED
from common.corpus.lines import read_parallel
from common.markdown import table
from common.text.moses import Tokeniser
from common.text.pipeline import TextPipeline
from common.text.vocabulary import Vocabulary

sizes = [
    "hidden=64",
    "embedding=48",
    "alignment=56",
    "maxout=36",
    "vocabulary_size=500",
    "max_length=12",
    "step_size=8",
]
recipe = PAPER.recipe("demo/rnnsearch-50", [*sizes, "path=readable"])

english, french = read_parallel(*(DECLARED / "demo" / f"train.{language}.xz" for language in ("en", "fr")))
tokenisers = [Tokeniser(language, False, "moses-2014") for language in ("en", "fr")]
tokens = [
    [tokeniser.tokenise(line).split() for line in side]
    for tokeniser, side in zip(tokenisers, (english, french), strict=True)
]
counts = [Counter(word for line in side for word in line) for side in tokens]
shortlists = [Vocabulary.build(words, recipe.text.vocabulary_size) for words in counts]
text = TextPipeline("en", "fr", False, "moses-2014", *shortlists, segmenter=None)

sentence = "Does the teacher who was seen by the man with the wonderful letter work?"
words = [*text.source_tokens(sentence), "</s>"]
ids = [*text.encode_source(sentence), 0]
Markdown(table([f"`{word}`" for word in words], [[str(number) for number in ids]]))

# %% [markdown]
r"""
Above are the tokens of a sentence and their ids. Row 0 of the vocabulary is the end of the sentence, `</s>`, which
every sentence has; the source too, so that it gets an annotation like a word. Row 1 is UNK.

**Change** `sentence` above: which of your words does this language know? (The Moses tokeniser writes some characters as
HTML does, an apostrophe as `&apos;`. Pictures here show the character.)

Three pairs make a batch of B = 3. Shorter sentences are *padded* on the right to the longest one, and a *mask* says
what is real. The decoder is fed the *previous* word: the target shifted by one. It begins with `START`, which is no
word but the zero vector. (The paper does not say what $y_0$ is. GroundHog takes the zero vector.)
"""

# %%
from common.contract import Batch, pad
from common.ids import EOS, START

source = [[*shortlists[0].encode(line), EOS] for line in tokens[0]]
target = [[*shortlists[1].encode(line), EOS] for line in tokens[1]]
by_length = {len(ids): place for place, ids in enumerate(source)}
three = [by_length[length] for length in (13, 10, 7)]
batch = Batch(*pad([source[place] for place in three]), *pad([target[place] for place in three]))


def sheet(axes, ids, mask, vocabulary):
    """Draw a padded batch as a sheet of words. Padding is grey."""
    axes.imshow(mask, cmap="gray", vmin=-1.5, vmax=1, aspect="auto")
    for row, numbers in enumerate(ids.tolist()):
        for column, number in enumerate(numbers):
            word = {EOS: "</s>", START: "START"}.get(number) or unescape(vocabulary.decode([number])[0])
            axes.text(column, row, word if mask[row, column] else "", ha="center", va="center", fontsize=8)
    axes.set(xticks=[], yticks=range(len(ids)))


drawing = Figure(figsize=(10, 4.2), layout="constrained")
above, middle, below = drawing.subplots(3, 1)
sheet(above, batch.source, batch.source_mask, shortlists[0])
sheet(middle, batch.target, batch.target_mask, shortlists[1])
sheet(below, batch.previous, batch.target_mask, shortlists[1])
for axes, title in ((above, "source"), (middle, "target"), (below, "previous: what the decoder is fed")):
    axes.set_title(title, loc="left", fontsize=10)
drawn(drawing, "Three source sentences, their targets, and the targets shifted by one word; padding is grey")

# %% [markdown]
r"""
### Encoder, decoder, one vector

**Eq. (1) to (3).** A recurrent network reads the source word by word. Its state after word $t$ is $h_t$. Some
function $q$ makes one vector $c$ of all states; Sutskever et al. (2014), and RNNencdec here, take the last one. These
are the lines that do it, for one step and for the whole sentence (`real` is false at padding, which changes nothing):
"""

# %%
from papers.bahdanau2014.model import EncoderUnits, ForwardEncoder, RNNsearch

display(equations(EncoderUnits.read, {"h = torch.where": r"h_t = f(x_t, h_{t-1}) \tag{1}"}))
equations(ForwardEncoder.forward, {"return": r"c = q(\{h_1, \dots, h_{T_x}\}) = h_{T_x}"})

# %% [markdown]
r"""
The decoder is trained to predict each word from the words before it. The probability of a whole translation is then a
product, Eq. (2), and each factor a function $g$ of the previous word, of the decoder's state $s_t$ and of $c$, Eq.
(3). `turn` computes the logits of one factor. Its softmax is left to the loss and to the search.

$$ p(y_t \mid \{y_1, \dots, y_{t-1}\}, c) = g(y_{t-1}, s_t, c) \tag{3} $$
"""

# %%
equations(
    RNNsearch.unroll,
    {"for previous": r"p(\mathbf{y}) = \prod_{t=1}^{T_y} p(y_t \mid \{y_1, \dots, y_{t-1}\}, c) \tag{2}"},
)

# %% [markdown]
r"""
In training the true translation is fed word by word (*teacher forcing*), and the loss is $-\log p(\mathbf{y})$ in
nats, summed over the words. Search calls the same two methods, `encode` once and `step` for each word. Both must
agree:
"""

# %%
from common.train.loss import cross_entropy_sum

torch.manual_seed(1)
model = PAPER.build_model(recipe)
with torch.no_grad():
    logits = model(batch)  # (B, T, V), teacher-forced
    state, stepped = model.encode(batch.source, batch.source_mask), []
    for previous in batch.previous.unbind(1):
        next_word, state = model.step(previous, state)
        stepped.append(next_word)
check(torch.allclose(torch.stack(stepped, 1), logits, atol=1e-6), "Word by word or all at once: the same logits.")
shapes(source=batch.source, target=batch.target, logits=logits)

# %% [markdown]
r"""
**Exercise 2.** Compute $-\log p(\mathbf{y})$, summed over the three targets, from `logits` (B, T, V), `batch.target`
(B, T) and `batch.target_mask` (B, T). Padding must not count.
"""

# %%
yours = None  # logits.log_softmax(-1) is a beginning

exercise(yours, cross_entropy_sum(logits, batch.target, batch.target_mask))

# %% [markdown]
r"""
### The bottleneck, seen

The same two sentences through both encoders. RNNencdec keeps n numbers of a sentence, be it short or long. RNNsearch
keeps a vector of 2n numbers for every word: what it keeps grows with the sentence.
"""

# %%
torch.manual_seed(1)
baseline = PAPER.build_model(PAPER.recipe("demo/rnnencdec-50", [*sizes, "path=readable"]))
drawing = Figure(figsize=(9, 2.8), layout="constrained")
panels = drawing.subplots(1, 4, width_ratios=(7, 2, 13, 2))
with torch.no_grad():
    for row, (left, right) in zip((2, 0), (panels[:2], panels[2:]), strict=True):
        length = int(batch.source_mask[row].sum())
        read = batch.source[row : row + 1, :length], batch.source_mask[row : row + 1, :length]
        annotations, _ = model.encoder(*read)  # (1, S, 2n)
        context = baseline.encode(*read).source.h_Tx  # (1, n)
        left.imshow(annotations[0].T, cmap="PuOr", aspect="auto", interpolation="nearest")
        right.imshow(context.T, cmap="PuOr", aspect="auto", interpolation="nearest")
        left.set(xticks=range(length), yticks=[])
        left.set_title(f"RNNsearch\n{length} × {annotations.shape[2]}", fontsize=9)
        right.set_title(f"RNNencdec\n{context.shape[1]}", fontsize=9)
        left.set_xticklabels([*map(unescape, tokens[0][three[row]]), "</s>"], rotation=90)
        right.set(xticks=[], yticks=[])
drawn(drawing, "Annotations of a short and a long sentence, and beside each the one vector of the baseline")

# %% [markdown]
r"""
## 3. The decoder that searches

**§3.1.** Now each target word $y_i$ has a context vector $c_i$ of its own. This is one turn of the decoder, the one
that writes word i:
"""

# %%
equations(
    RNNsearch.R2,
    {
        "c, alpha =": r"c_i, \; \alpha_{i1}, \dots, \alpha_{iT_x} \quad \text{by Eq. (5) and (6), below}",
        "s =": r"s_i = f(s_{i-1}, y_{i-1}, c_i)",
        "return": r"p(y_i \mid y_1, \dots, y_{i-1}, \mathbf{x}) = g(y_{i-1}, s_i, c_i) \tag{4}",
    },
)

# %% [markdown]
r"""
The context vector is a mean of all annotations $h_j$, weighted by $\alpha_{ij}$. A weight says how much of source
word j goes into target word i. It comes from an *energy* $e_{ij}$, which a small network $a$ computes from the
decoder's state and the annotation. These three lines are the invention:
"""

# %%
from papers.bahdanau2014.model import AlignmentModel

equations(
    AlignmentModel.forward,
    {
        "e =": r"e_{ij} = a(s_{i-1}, h_j) = v_a^\top \tanh(W_a s_{i-1} + U_a h_j)",
        "alpha =": r"\alpha_{ij} = \frac{\exp(e_{ij})}{\sum_{k=1}^{T_x} \exp(e_{ik})} \tag{6}",
        "c =": r"c_i = \sum_{j=1}^{T_x} \alpha_{ij} h_j \tag{5}",
    },
)

# %% [markdown]
r"""
RNNencdec is the same decoder with this network exchanged for a constant:
"""

# %%
from papers.bahdanau2014.model import FixedContext

equations(FixedContext.forward, {"return": r"c_i = \overrightarrow{h}_{T_x} \quad \text{for every } i"})

# %% [markdown]
r"""
This is the paper's Figure 1, drawn from the model above while it writes the third word of a translation. Boxes stand
in the order in which the model called them, an arrow goes where a vector was read, and numbers are the sizes of real
tensors. Lines to the annotations are as wide as their α. All are equally wide here, because the model is untrained.
[Section 9](#9.-Training) draws the picture again.

The order of the boxes is not the one of Eq. (4). [Section 7](#7.-From-a-state-to-a-word) says why.
"""

# %%
from papers.bahdanau2014.architecture import draw


def figure1(model, line, translation, i=3):
    """Draw the turn in which a model writes word i of a translation."""
    pair = Batch(*pad([[*text.encode_source(line), EOS]]), *pad([[*text.encode_target(translation), EOS]]))
    source_words = [*text.source_tokens(line), "</s>"]
    return draw(model, pair, source_words, [*text.target_tokens(pair.target[0]), "</s>"], i)


example = "The student sees the white house.", "L'étudiant voit la maison blanche."
drawn(
    figure1(model, *example), "The encoder's two rows of states, alpha's lines to the alignment model, and the decoder"
)

# %% [markdown]
r"""
On the batch of three: the weights of each sentence are positive and sum to one, and padding gets exactly nothing,
since its energy is $-\infty$. (A mask that is computed and then not used is a common mistake in programs of this
model.)
"""

# %%
with torch.no_grad():
    state = model.encode(batch.source, batch.source_mask)
    c, alpha = model.align(state.s, state.source)
h, lengths = state.source.h, batch.source_mask.sum(1, keepdim=True)

check(torch.allclose(alpha.sum(1), torch.ones(3)), "The weights of a sentence sum to one.")
check((alpha[~batch.source_mask] == 0).all(), "Padding has the weight 0, exactly.")
check(torch.allclose(alpha, batch.source_mask / lengths), "Untrained, all T_x words of a sentence weigh 1 / T_x.")
check(torch.allclose(c, (alpha.unsqueeze(2) * h).sum(1), atol=1e-6), "c is the weighted sum of the annotations.")
shapes(s_0=state.s, h=h, U_a_h=state.source.U_a_h, alpha_1=alpha, c_1=c)

# %% [markdown]
r"""
How sharp α is depends on how large the energies are. Here an alignment model gets a random $U_a$ and a random $v_a$,
small to large. At the left all words are read, at the right one. All of it is smooth, so the gradient of the
translation's loss flows through α to the annotations: alignment is *learned*, nobody marks which words belong
together. (§3.1 speaks of a *soft* alignment; the alternative, to draw one word at random, has no such gradient.)

**Change** `scales`, and see what a very large energy does to the other words.
"""

# %%
from copy import deepcopy

scales = (1, 30, 300)
torch.manual_seed(4)
aligned, direction = deepcopy(model.align), torch.randn(recipe.model.alignment)
with torch.no_grad():
    aligned.U_a.normal_()
drawing = Figure(figsize=(9, 2.4), layout="constrained")
for axes, scale in zip(drawing.subplots(1, len(scales), sharey=True), scales, strict=True):
    with torch.no_grad():
        aligned.v_a.copy_(scale * direction)
        weights = aligned(state.s, aligned.prepare(h, batch.source_mask))[1][0]
    axes.bar(range(len(weights)), weights, color=COLOURS[3])
    axes.set(title=f"$v_a$ times {scale}", ylim=(0, 1), xlabel="source position j", xticks=range(0, 13, 4))
drawn(drawing, "Alpha over a sentence for three lengths of v_a: from even to a single word")

# %% [markdown]
r"""
**Exercise 3.** Eq. (5) and (6) in your own words: from energies `e` (B, S), the mask (B, S) and annotations `h` (B,
S, 2n), compute the context vectors (B, 2n).
"""

# %%
e = torch.randn(3, 13, generator=torch.Generator().manual_seed(5))

yours = None

weights = torch.softmax(e.masked_fill(~batch.source_mask, -torch.inf), dim=1)
exercise(yours, torch.bmm(weights.unsqueeze(1), h).squeeze(1))

# %% [markdown]
r"""
## 4. The encoder

**§3.2, App. A.2.1.** An annotation shall summarise not only the words before $x_j$, but also those after it. So two
recurrent networks read the sentence, one forwards and one backwards, and the annotation joins their states. Both
share the embedding E and nothing else.
"""

# %%
from papers.bahdanau2014.model import Encoder

equations(
    Encoder.forward,
    {
        "Ex =": r"E x_1, \dots, E x_{T_x}",
        "forward_h =": r"\overrightarrow{h}_j = f(x_j, \overrightarrow{h}_{j-1}), \quad \overrightarrow{h}_0 = 0",
        "backward_h =": r"\overleftarrow{h}_j = f(x_j, \overleftarrow{h}_{j+1}), \quad \overleftarrow{h}_{T_x+1} = 0",
        "return": r"h_j = \left[\overrightarrow{h}_j^\top ; \overleftarrow{h}_j^\top\right]^\top \tag{7}",
    },
)

# %% [markdown]
r"""
What does an annotation know? Replace one word and see which annotations change, and by how much. The forward half
changes from that word on, the backward half up to it. The change is largest near the word: as the paper says, a
recurrent network remembers recent words better, so $h_j$ speaks mostly of the words around $x_j$.

**Change** `replacement`, or take the sentence in row 1 or 2 of the batch.
"""

# %%
row, replacement = 0, 7
n, length = recipe.model.hidden, int(batch.source_mask[row].sum())
ids, mask = batch.source[row : row + 1, :length], batch.source_mask[row : row + 1, :length]
moved = torch.zeros(2, length, length)  # half, word that is replaced, annotation
with torch.no_grad():
    whole, last = model.encoder(ids, mask)  # (1, S, 2n), (1, n)
    for j in range(length):
        other = ids.clone()
        other[0, j] = replacement
        difference = model.encoder(other, mask)[0] - whole
        moved[:, j] = torch.stack([difference[0, :, :n].norm(dim=1), difference[0, :, n:].norm(dim=1)])

drawing = Figure(figsize=(9, 4.2), layout="constrained")
words = [*map(unescape, tokens[0][three[row]]), "</s>"]
for axes, half, title in zip(drawing.subplots(1, 2, sharey=True), moved, ("forward", "backward"), strict=True):
    axes.imshow(half / half.max(dim=1, keepdim=True).values.clamp(min=1e-9), cmap="Purples")
    axes.set(title=f"{title} half of $h_j$", xlabel="annotation j", xticks=range(length), yticks=range(length))
    axes.set_xticklabels(words, rotation=90)
    axes.set_yticklabels(words)
drawing.supylabel("word that is replaced")
drawn(drawing, "Two triangles: a replaced word changes forward states to its right and backward states to its left")

# %%
check((moved[0].tril(-1) == 0).all(), "A word changes no forward state before it.")
check((moved[1].triu(1) == 0).all(), "A word changes no backward state after it.")
check(torch.equal(last, whole[:, 0, n:]), "The encoder's second result is the backward state of the first word.")
with torch.no_grad():
    check(torch.allclose(model.encoder(batch.source, batch.source_mask)[0][row, :length], whole[0], atol=1e-6),
          "A sentence has the same annotations in a batch, with padding, as alone.")  # fmt: skip
shapes(Ex=model.encoder.embedding(ids), h=whole, backward_h_1=last)

# %% [markdown]
r"""
**Exercise 4.** The backward network reads `</s>` first, from the state 0. Compute its state there, (1, n), with one
call of `model.encoder.backward_rnn`, which takes `Ex` (1, m) and a state (1, n).
"""

# %%
Ex = model.encoder.embedding(ids)  # (1, S, m)

yours = None

exercise(yours, whole[:, -1, n:])

# %% [markdown]
r"""
## 5. Gated units

**App. A.1.1.** In the encoder and in the decoder $f$ is a *gated hidden unit*. The new state is a mixture of the old
one and of a candidate $\tilde{s}_i$. The *update gate* z says how much is renewed. The *reset gate* r says how much
of the old state the candidate may see. σ is the logistic function and ∘ the product of components. The encoder's
units are the same without a context c. (App. A.1.1 leaves biases out "when possible"; App. B.1 speaks of them; each
sum has one here.)
"""

# %%
from papers.bahdanau2014.model import DecoderUnits

equations(
    DecoderUnits.forward,
    {
        "z =": r"z_i = \sigma(W_z E y_{i-1} + U_z s_{i-1} + C_z c_i)",
        "r =": r"r_i = \sigma(W_r E y_{i-1} + U_r s_{i-1} + C_r c_i)",
        "s_tilde =": r"\tilde{s}_i = \tanh(W E y_{i-1} + U [r_i \circ s_{i-1}] + C c_i)",
        "return": r"s_i = (1 - z_i) \circ s_{i-1} + z_i \circ \tilde{s}_i",
    },
)

# %%
unit, numbers = model.decoder, torch.Generator().manual_seed(4)
inputs = recipe.model.embedding, recipe.model.hidden, recipe.model.context
Ey, s, c = (torch.randn(size, generator=numbers) for size in inputs)  # (m,), (n,), (2n,)
with torch.no_grad():
    z = torch.sigmoid(unit.W_z @ Ey + unit.U_z @ s + unit.C_z @ c + unit.b_z)
    r = torch.sigmoid(unit.W_r @ Ey + unit.U_r @ s + unit.C_r @ c + unit.b_r)
    s_tilde = torch.tanh(unit.W @ Ey + unit.U @ (r * s) + unit.C @ c + unit.b)
    wanted = (1 - z) * s + z * s_tilde
    check(torch.allclose(unit(Ey[None], s[None], c[None])[0], wanted, atol=1e-6),
          "The decoder's units are these equations: r acts before U, and z = 1 takes the candidate.")  # fmt: skip

# %% [markdown]
r"""
The update gate decides how long a word is remembered. Here one word is read and then fifteen others, with a bias in
the update gate that closes it, leaves it half open, or opens it. Drawn is how much of the first word's trace is left:
the distance of two states that differ in the first word only.

**Change** the biases.
"""

# %%
biases = (-3.0, 0.0, 3.0)
torch.manual_seed(2)
unit = EncoderUnits(recipe.model)
first, second = torch.randn(2, 1, 16, recipe.model.embedding).unbind(0)  # two sentences of 16 words, (1, S, m) ...
second[:, 1:] = first[:, 1:]  # ... that differ in the first
drawing = Figure(figsize=(6, 2.8), layout="constrained")
axes = drawing.subplots()
for colour, bias in zip(COLOURS, biases, strict=False):
    with torch.no_grad():
        unit.b_z.fill_(bias)
        real = torch.ones(1, 16, dtype=torch.bool)
        trace = (unit.read(10 * first, real) - unit.read(10 * second, real)).norm(dim=2)[0]
    axes.plot(range(1, 17), trace / trace[0], color=colour, marker="o", markersize=3, label=f"$b_z$ = {bias:g}")
axes.set(xlabel="words read", ylabel="trace of the first word", ylim=(0, None))
axes.legend(frameon=False)
drawn(drawing, "The trace of the first word fades slowly if the update gate is nearly closed, and soon if it is open")

# %% [markdown]
r"""
Programs often take `torch.nn.GRU` here. It is another function: it computes $r \circ (U s)$ where the paper has
$U (r \circ s)$. (It also calls 1 − z what the paper calls z; a sign on the weights undoes that.) With the same
weights the two agree only while the reset gate is fully open. [Section 12](#12.-What-the-paper-leaves-open) has both
trained.
"""

# %%
torch.manual_seed(3)
m, n = recipe.model.embedding, recipe.model.hidden
unit, gru = EncoderUnits(recipe.model), torch.nn.GRUCell(m, n)
Ex, s = torch.randn(5, m), torch.randn(5, n)


@torch.no_grad()
def torch_gru():
    """Give the paper's weights to torch's unit, and return its state."""
    gru.weight_ih.copy_(torch.cat([unit.W_r, -unit.W_z, unit.W]))
    gru.weight_hh.copy_(torch.cat([unit.U_r, -unit.U_z, unit.U]))
    gru.bias_ih.copy_(torch.cat([unit.b_r, -unit.b_z, unit.b]))
    gru.bias_hh.zero_()
    return gru(Ex, s)


with torch.no_grad():
    check((unit(Ex, s) - torch_gru()).abs().max() > 0.1, "With the same weights, torch's unit has another state.")
    unit.b_r.fill_(50.0)
    check(torch.allclose(unit(Ex, s), torch_gru(), atol=1e-5), "With r = 1 the two are the same function.")

# %% [markdown]
r"""
**Exercise 5.** Compute the unit's new state (5, n) from `Ex` and `s` yourself, with the four equations above without
a context. The matrices are `unit.W`, `unit.U`, `unit.W_z` and so on, the biases `unit.b`, `unit.b_z`, `unit.b_r`, which
get random values first.
"""

# %%
draw_bias = torch.Generator().manual_seed(7)
with torch.no_grad():
    for bias in (unit.b, unit.b_z, unit.b_r):
        bias.normal_(generator=draw_bias)

yours = None

exercise(yours, unit(Ex, s).detach())

# %% [markdown]
r"""
## 6. The alignment model

**App. A.1.2.** The energy has to be computed for each pair of a source and a target word, $T_x \times T_y$ times. So
$a$ is a network of a single hidden layer, and half of it, $U_a h_j$, does not depend on the target word: it is
computed once for a sentence.
"""

# %%
equations(AlignmentModel.prepare, {"U_a_h =": r"U_a h_j, \quad j = 1, \dots, T_x"})

# %% [markdown]
r"""
**App. B.1** starts $v_a$ at zero. Every energy is then 0 and α is even, as seen above. And more: as long as
$v_a = 0$, no gradient reaches $W_a$ and $U_a$, because they act through $v_a$ only. So alignment begins with this
single vector. Its own gradient is tiny at first (the axis below is logarithmic), so it begins slowly. Section 9 shows
how long α stays even, and Europarl in section 11 as well.
"""

# %%
exact = deepcopy(model).double()  # the gradients are tiny
cross_entropy_sum(exact(batch), batch.target, batch.target_mask).backward()
norms = {name: float(parameter.grad.norm()) for name, parameter in exact.align.named_parameters()}
check(norms["v_a"] > 0, "In the first update v_a has a gradient.")
check(norms["W_a"] == norms["U_a"] == norms["b_a"] == 0, "W_a, U_a and the bias have none.")

# %% [markdown]
r"""
**Change** the line that is marked, so that $v_a$ starts at a random vector: the other three get a gradient too. (Is
that better? In section 9 a line is marked in the same way.)
"""

# %%
changed = deepcopy(model).double()
with torch.no_grad():
    changed.align.v_a.fill_(0.0)  # change me: .normal_(0, 0.01)
cross_entropy_sum(changed(batch), batch.target, batch.target_mask).backward()
bars = {name: parameter.grad.norm() for name, parameter in changed.align.named_parameters()}
bars["all parameters"] = torch.nn.utils.get_total_norm([parameter.grad for parameter in changed.parameters()])
drawing = Figure(figsize=(7, 2), layout="constrained")
axes = drawing.subplots()
axes.barh(list(bars), [float(norm) for norm in bars.values()], color=COLOURS[3])
axes.set(xlabel="norm of the gradient in the first update", xscale="log", xlim=(1e-14, 1e2))
drawn(
    drawing,
    "Bars of the gradients' norms on a logarithmic axis: of the alignment model, v_a alone has one, and it is tiny",
)

# %% [markdown]
r"""
**Exercise 6.** How many products of two numbers does $U_a h_j$ cost for a source of 50 words at the paper's size, n =
n′ = 1000, computed once? And how many if it were computed again for each of 50 target words? Give both.
"""

# %%
yours = None

once = 50 * 1000 * 2000
exercise(yours, torch.tensor([once, 50 * once]))

# %% [markdown]
r"""
## 7. From a state to a word

### Which state? Three readings

**Eq. (4) and App. A.2.2.** In which order does a word go into the state, the state into the alignment, and both into
the next word? The paper contradicts itself. Eq. (4) writes $y_i$ from $s_i$. App. A.2.2 writes it from $s_{i-1}$. And
in both the alignment for $y_i$ has not seen $y_{i-1}$. GroundHog, which trained the printed models, does a third
thing: the state reads $y_{i-1}$ first, then the alignment looks, then the word is written. All three have the same
parameters. The recipe's field `step_order` chooses; R1, GroundHog's, is the default. (What each is worth:
[section 12](#12.-What-the-paper-leaves-open).)
"""

# %%
code(RNNsearch.R1, RNNsearch.R2, RNNsearch.R3)

# %% [markdown]
r"""
**Change** `order` to `"R3"` or `"R1"` and see which arrows move.
"""

# %%
order = "R2"
torch.manual_seed(1)
reading = PAPER.build_model(PAPER.recipe("demo/rnnsearch-50", [*sizes, "path=readable", f"step_order={order}"]))
drawn(figure1(reading, *example), f"The decoder's turn by reading {order}, drawn as above")

# %%
read = {}
for order in ("R1", "R2", "R3"):
    torch.manual_seed(1)
    reading = PAPER.build_model(PAPER.recipe("demo/rnnsearch-50", [*sizes, "path=readable", f"step_order={order}"]))
    with torch.no_grad():
        for parameter in reading.parameters():
            parameter.mul_(10)  # away from the tiny first weights, so that the readings differ visibly
        read[order] = reading(batch)  # (B, T, V)
check(
    torch.allclose(read["R1"][:, 0], read["R3"][:, 0], atol=1e-5), "R1 and R3 agree on the first word: both read s_0."
)
check(not torch.allclose(read["R1"][:, 1], read["R3"][:, 1], atol=1e-2), "They part at the second word.")
check(not torch.allclose(read["R1"][:, 0], read["R2"][:, 0], atol=1e-2), "R2 parts from both at the first.")

# %% [markdown]
r"""
### The first state, and the output

**App. A.2.2.** The decoder starts from the backward network's state at the first word, which has read the whole
sentence, and most recently its beginning:
"""

# %%
equations(RNNsearch.encode, {"s_0 =": r"s_0 = \tanh(W_s \overleftarrow{h}_1)"})

# %% [markdown]
r"""
The output is *deep*: between the state and the softmax is a layer of *maxout* units. Each takes the larger of two
sums.
"""

# %%
from papers.bahdanau2014.model import DeepOutput, Readout

display(
    equations(
        DeepOutput.maxout,
        {
            "t_tilde =": r"\tilde{t}_i = U_o s_{i-1} + V_o E y_{i-1} + C_o c_i",
            "return": r"t_i = \left[\max\{\tilde{t}_{i,2j-1}, \tilde{t}_{i,2j}\}\right]_{j=1,\dots,l}^\top",
        },
    )
)
equations(Readout.forward, {"return": r"p(y_i \mid s_i, y_{i-1}, c_i) \propto \exp\left(y_i^\top W_o t_i\right)"})

# %%
hidden = {}
handle = model.readout.register_forward_hook(lambda module, inputs, output: hidden.update(inputs=inputs))
with torch.no_grad():
    model(batch)
    handle.remove()
    s, Ey, c = hidden["inputs"]  # of the last word: (B, n), (B, m), (B, 2n)
    t_tilde = s @ model.readout.U_o.T + Ey @ model.readout.V_o.T + c @ model.readout.C_o.T + model.readout.b_o
    t = model.readout.maxout(s, Ey, c)
    backward_h_1 = model.encoder(batch.source, batch.source_mask)[1]
    s_0 = torch.stack([torch.tanh(model.W_s @ h + model.b_s) for h in backward_h_1])
check(torch.allclose(model.encode(batch.source, batch.source_mask).s, s_0, atol=1e-6),
      "The decoder starts from the backward network's state at the first word.")  # fmt: skip
check(all(t[0, j] == max(t_tilde[0, 2 * j : 2 * j + 2]) for j in range(t.shape[1])),
      "Each unit has the larger of two neighbouring sums.")  # fmt: skip

drawing = Figure(figsize=(9, 2.4), layout="constrained")
axes = drawing.subplots()
places = torch.arange(24)
axes.bar(places + places // 2, t_tilde[0, :24], color=COLOURS[4])
kept = torch.where(t_tilde[0, :24] == t[0, :12].repeat_interleave(2), t_tilde[0, :24], torch.nan)
axes.bar(places + places // 2, kept, color=COLOURS[0])
axes.set(xticks=[], xlabel=f"the first 24 of {t_tilde.shape[1]} sums, in pairs")
axes.set_ylabel(r"$\tilde{t}$; kept by maxout: dark")
drawn(drawing, "Pairs of bars; the larger of each pair is dark")

# %% [markdown]
r"""
An untrained model has nearly equal logits for all V words, so a word costs it about $\ln V$ nats. If the loss of your
own program starts anywhere else, something is wrong.
"""

# %%
from math import log

words_in_batch, V = int(batch.target_mask.sum()), recipe.text.vocabulary_size
with torch.no_grad():
    untrained = cross_entropy_sum(model(batch), batch.target, batch.target_mask) / words_in_batch
check(abs(untrained - log(V)) < 0.01, f"Untrained: ln {V} = {log(V):.2f} nats a word.")
shapes(s=s, Ey=Ey, c=c, t_tilde=t_tilde, t=t, logits=logits)

# %% [markdown]
r"""
**Exercise 7.** Compute the maxout layer's result (B, l) from `t_tilde` (B, 2l).
"""

# %%
yours = None

exercise(yours, t)

# %% [markdown]
r"""
## 8. At the paper's size

**App. A.2.** n = 1000, m = 620, n′ = 1000, l = 500, V = 30,000 on both sides. The same class is built with these
sizes, on PyTorch's *meta* device, which needs no memory, and its parameters are counted. Most belong to words, in the
embeddings and the softmax. The alignment model is small.
"""

# %%
from common.run.plan import parameter_counts

search, encdec = (parameter_counts(PAPER, PAPER.recipe(name)) for name in ("rnnsearch-50", "rnnencdec-50"))
drawing = Figure(figsize=(8, 3.4), layout="constrained")
axes = drawing.subplots()
axes.barh(list(search), [count / 1e6 for count in search.values()], color=COLOURS[0], label="RNNsearch")
shared = [encdec.get(block, 0) / 1e6 for block in search]
axes.barh(list(search), shared, height=0.4, color=COLOURS[5], label="RNNencdec")
axes.invert_yaxis()
axes.set(xlabel="million parameters")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
display(drawn(drawing, "Parameters of each block of both models; embeddings and softmax are the largest"))
of_words = sum(search[block] for block in ("source embedding", "target embedding", "softmax"))
share = {"words": of_words / sum(search.values()), "alignment": search["alignment model"] / sum(search.values())}
Markdown(f"RNNsearch: {share['words']:.1%} for words, {share['alignment']:.1%} for the alignment model.")

# %% [markdown]
r"""
Few papers say which biases they have. This one prints none in its equations, and says in App. B.1 how they are
initialised. GroundHog has a set of its own, and two output matrices where the paper prints one $W_o$.

**Change** `overrides`: other fields are `hidden`, `embedding`, `alignment`, `maxout` and `vocabulary_size`.
"""

# %%
overrides = ["biases=paper"]
total = sum(parameter_counts(PAPER, PAPER.recipe("rnnsearch-50", overrides)).values())
Markdown(f"RNNsearch-50 with `{' '.join(overrides)}`: **{total:,}** parameters")

# %%
for words, wanted, what in (
    (["biases=none"], 80_401_000, "The equations as printed"),
    (["biases=paper"], 80_443_000, "One bias for each sum, the default here"),
    (["biases=authors"], 80_437_240, "GroundHog's biases"),
    (["biases=authors", "readout=factored"], 84_349_101, "GroundHog as released, with two output matrices"),
):
    counted = sum(parameter_counts(PAPER, PAPER.recipe("rnnsearch-50", words)).values())
    check(counted == wanted, f"{what}: {wanted:,} parameters.")

# %% [markdown]
r"""
**Exercise 8.** How many parameters does the alignment model have at the paper's size, its bias included?
"""

# %%
yours = None

exercise(yours, search["alignment model"])

# %% [markdown]
r"""
## 9. Training

### First weights

**App. B.1.** The nine recurrent matrices are random orthogonal ones: they turn a state and keep its length. $W_a$ and
$U_a$ are drawn from a Gaussian of standard deviation 0.001, all other matrices from one of 0.01. $v_a$ and all biases
are zero.
"""

# %%
identity = torch.eye(recipe.model.hidden)
units = model.encoder.forward_rnn, model.encoder.backward_rnn, model.decoder
with torch.no_grad():
    turned = [torch.allclose(U @ U.T, identity, atol=1e-5) for unit in units for U in (unit.U, unit.U_z, unit.U_r)]
    check(len(turned) == 9 and all(turned), "Each of the nine recurrent matrices is orthogonal: U Uᵀ = 1.")
    check(abs(model.align.W_a.std() - 0.001) < 1e-4, "W_a has the standard deviation 0.001.")
    check(abs(model.embedding.E.std() - 0.01) < 1e-3, "An embedding has the standard deviation 0.01.")

# %% [markdown]
r"""
### Minibatches

**App. B.2.** All pairs are shuffled once. Before every 20th update 1,600 pairs are read, sorted by length and cut
into 20 minibatches of 80. So sentences of a minibatch are about equally long and little is padding. **§4.2** leaves
out pairs that are longer than 30 or 50 words; we leave out those longer than 12. Below are the minibatches of the
first pool.

**Change** `pool` to 1: nothing is sorted then. How much is padding?
"""

# %%
from dataclasses import replace

import numpy as np

from common.train.batching import minibatches

short = [place for place in range(len(source)) if max(len(source[place]), len(target[place])) <= 12 + 1]
source, target = [source[place] for place in short], [target[place] for place in short]
sides = [np.array([len(ids) for ids in side]) for side in (source, target)]

pool = 20
first_pool = minibatches(*sides, replace(recipe.batch, pool=pool), seed=1234, epoch=0)[:20]
drawing = Figure(figsize=(9, 2.6), layout="constrained")
axes = drawing.subplots()
longest = [sides[1][rows].max() for rows in first_pool]
axes.bar(range(20), longest, color="#DDDDDD", label="padding")
axes.bar(range(20), [sides[1][rows].mean() for rows in first_pool], color=COLOURS[0], label="words")
axes.set(xlabel="minibatch of the pool, in the order of training", ylabel="target positions", xticks=[])
axes.legend(frameon=False, loc="upper left")
padding = 1 - sum(sides[1][rows].sum() for rows in first_pool) / sum(80 * length for length in longest)
axes.set_title(f"{padding:.1%} of all target positions are padding", fontsize=10)
drawn(drawing, "Twenty minibatches, short sentences to long ones, with little padding")

# %% [markdown]
r"""
### Clipping, and a step of Adadelta

**App. B.2.** The gradient g of all parameters together is scaled down if it is longer than 1. (The last line is
GroundHog's rule for a gradient that is not finite: each weight's gradient becomes a tenth of the weight.)
"""

# %%
from papers.bahdanau2014.optim import build_optimization, condition_gradients

equations(
    condition_gradients,
    {
        "scale = torch.where(norm": r"g \leftarrow \frac{g}{\lVert g \rVert} \quad \text{if } \lVert g \rVert \geq 1",
        "scale = torch.where(finite": r"g \leftarrow 0.1 \, \theta \text{ if } \lVert g \rVert \text{ is not finite}",
    },
)

# %% [markdown]
r"""
Then Adadelta (Zeiler 2012) takes a step Δ. It keeps two running means for each parameter, of squared gradients and of
squared steps, with ρ = 0.95 and ε = 10⁻⁶. There is no learning rate: `step_size` is 1 in the paper's recipes. The class
is PyTorch's, so its line names it only; the equations are computed by hand below.
"""

# %%
equations(
    build_optimization,
    {
        "adadelta =": r"""
\begin{aligned}
E[g^2] &\leftarrow \rho \, E[g^2] + (1 - \rho) \, g^2 \\
\Delta &= -\frac{\sqrt{E[\Delta^2] + \varepsilon}}{\sqrt{E[g^2] + \varepsilon}} \, g \\
E[\Delta^2] &\leftarrow \rho \, E[\Delta^2] + (1 - \rho) \, \Delta^2
\end{aligned}
"""
    },
)

# %% [markdown]
r"""
The paper does not say whether the loss is summed or averaged over words before its gradient is clipped. GroundHog
sums. Then nearly every gradient is longer than 1, and Adadelta sees a direction only. The *mean* of the same loss
slips under the limit. That is another algorithm (trained beside the sum in
[section 12](#12.-What-the-paper-leaves-open)):
"""


# %%
def gradient(divisor):
    """Compute the gradient of the batch's summed loss over `divisor`. Return its norm before and after clipping."""
    model.zero_grad()
    (cross_entropy_sum(model(batch), batch.target, batch.target_mask) / divisor).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    before = torch.nn.utils.get_total_norm(gradients)
    condition_gradients(list(model.parameters()), clip_norm=1.0, non_finite_factor=0.1)
    return before, torch.nn.utils.get_total_norm(gradients)


mean, summed = gradient(words_in_batch), gradient(1)
check(mean[0] < 1 and mean[0] == mean[1], "The mean of the loss is not clipped ...")
check(summed[0] > 1 and abs(summed[1] - 1) < 1e-5, "... and the sum is, to the norm 1.")

# %%
adadelta = torch.optim.Adadelta([stepped := model.W_s.detach().clone().requires_grad_()], lr=1.0, rho=0.95, eps=1e-6)
squared_g = squared_step = 0.0
by_hand = model.W_s.detach().clone()
for g in 0.1 * torch.randn(3, *by_hand.shape, generator=torch.Generator().manual_seed(6)):
    squared_g = 0.95 * squared_g + 0.05 * g**2
    step = -torch.sqrt((torch.as_tensor(squared_step) + 1e-6) / (squared_g + 1e-6)) * g
    squared_step = 0.95 * squared_step + 0.05 * step**2
    by_hand += step
    stepped.grad = g
    adadelta.step()
check(torch.allclose(stepped, by_hand, atol=1e-6), "Three steps of torch's Adadelta are those of the three formulas.")

# %% [markdown]
r"""
**Exercise 9.** At the very first step both means are 0. How large is it if a component of the gradient is g = 0.01?
And if g = 0.0001? Give the absolute values. (No first step can be larger than
$\sqrt{\varepsilon / (1 - \rho)} = 0.0045$, whatever the gradient: Adadelta begins slowly.)
"""

# %%
yours = None

g = torch.tensor([0.01, 0.0001])
first_step = (1e-6 / (0.05 * g**2 + 1e-6)).sqrt() * g
exercise(yours if yours is None else torch.as_tensor(yours) / g, first_step / g)

# %% [markdown]
r"""
### The loop, and two models trained

These are all parts together. From here on the fast program of the model is used: [`fast.py`](fast.py) computes the
same functions from the same parameters, arranged so that a processor has less to do. One number differs from the
paper: the steps are longer than Adadelta's (`step_size` in section 2), so that two minutes suffice. (The repository's
recipes for small text do so too, deviation D8 in the [README](README.md#deviations).)

**Change** `variation`, for example to `["step_order=R2"]`, `["readout=factored"]` (GroundHog's two output matrices),
`["step_size=1.0"]` (the paper's) or `["hidden=32"]`, and run the notebook from here. Both models get it. Or change the
start of $v_a$. The checks from here on say what holds without a change, and after one the notebook may stop at them:
with the paper's steps, for example, both models learn less in so few updates.
"""

# %%
from itertools import count

variation = []
fast_recipe = PAPER.recipe("demo/rnnsearch-50", [*sizes, *variation])
trained = PAPER.build_model(PAPER.recipe("demo/rnnsearch-50", [*sizes, *variation, "path=readable"]))
torch.manual_seed(1)
searcher = PAPER.build_model(fast_recipe)
torch.nn.init.zeros_(searcher.align.v_a)  # change me: torch.nn.init.normal_(searcher.align.v_a, 0, 0.01)
trained.load_state_dict(searcher.state_dict())
with torch.no_grad():
    check(torch.allclose(searcher(batch), trained(batch), atol=1e-6), "fast.py computes what model.py computes.")


def train(model, recipe, updates, watch):
    """Make these updates. Return the loss of each in nats a word, and what `watch` saw before every 200th."""
    optimization = PAPER.build_optimization(model, recipe)
    parameters, losses, seen = list(model.parameters()), [], []
    for epoch in count():
        for rows in minibatches(*sides, recipe.batch, recipe.train.seed, epoch):
            if len(losses) % 200 == 0:
                seen.append(watch(model))
            if len(losses) == updates:
                return losses, seen
            batch = Batch(*pad([source[row] for row in rows]), *pad([target[row] for row in rows]))
            optimization.optimizer.zero_grad()
            loss = cross_entropy_sum(model(batch), batch.target, batch.target_mask)
            loss.backward()
            optimization.condition_gradients(parameters)
            optimization.optimizer.step()
            losses.append(loss.item() / int(batch.target_mask.sum()))


def look(model):
    """Return alpha of the example of section 3, (T, S)."""
    pair = Batch(*pad([[*text.encode_source(example[0]), EOS]]), *pad([[*text.encode_target(example[1]), EOS]]))
    with torch.no_grad():
        return model.alignment(pair)[0]


# %%
updates = 1800
losses, looks = train(searcher, fast_recipe, updates, look)
torch.manual_seed(1)
fixed_recipe = PAPER.recipe("demo/rnnencdec-50", [*sizes, *variation])
fixed = PAPER.build_model(fixed_recipe)
fixed_losses, _ = train(fixed, fixed_recipe, updates, lambda model: None)

# %%
drawing = Figure(figsize=(7.5, 3), layout="constrained")
axes = drawing.subplots()
for values, colour, label in ((losses, COLOURS[0], "RNNsearch"), (fixed_losses, COLOURS[1], "RNNencdec")):
    axes.plot(np.convolve(values, np.ones(20) / 20, mode="valid"), color=colour, label=label)  # a mean of 20 updates
axes.set(xlabel="updates", ylabel="loss, nats a word", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
drawn(drawing, "Two falling curves that begin together; from early on RNNsearch's lies below RNNencdec's")

# %% [markdown]
r"""
Both begin alike, and RNNsearch is ahead before its alignment has formed: while α is even, its context vector is the
mean of all annotations, which each source word reaches directly. (The curves are means of 20 updates, because the
minibatches of a pool grow longer. The bumps are where a pass over the text ends, with a smaller pool.)

This is α of one sentence over the course of training. Across are source words, down target words; black is 0 and
white is 1, as in the paper's Figure 3. α stays even for many updates, and then alignment forms in few. Rows sharpen to
a few words at the one that is translated; the last two look left of their own.
"""

# %%
from papers.bahdanau2014.figures import draw_weights

source_words = [*text.source_tokens(example[0]), "</s>"]
target_words = [*text.target_tokens(text.encode_target(example[1])), "</s>"]
moments = sorted({0, *range(len(looks))[-6:]})
drawing = Figure(figsize=(10, 2.6), layout="constrained")
panels = drawing.subplots(1, len(moments))
for panel, (axes, moment) in enumerate(zip(panels, moments, strict=True)):
    draw_weights(axes, looks[moment].numpy(), source_words, [] if panel else target_words, labels=7)
    axes.set_xlabel(f"{200 * moment:,} updates", fontsize=8)
drawn(
    drawing,
    "Alpha of one sentence at seven moments: even in the first two, then brighter cells along the diagonal",
)

# %% [markdown]
r"""
And Figure 1 again, now with a model that has learned. It writes *blanche*, which comes after its noun, while *white*
comes before its own, and looks most at *white*.

**Change** `i` to 5. For *maison* it looks at *white* and at *house* nearly alike: so short a training has not taught it
to cross.
"""

# %%
i = 6
trained.load_state_dict(searcher.state_dict())
drawn(
    figure1(trained, *example, i),
    f"Figure 1 of the trained model, at the target word {i}: one annotation has the thickest line",
)

# %%
check(looks[0].std(dim=1).max() < 1e-6, "Before training α is even.")
check(
    looks[-1].max(dim=1).values.mean() > 3 / len(source_words),
    "After it, a word's largest α is three times the even one, on average.",
)
most = dict(zip(target_words, looks[-1].argmax(1).tolist(), strict=True))
for word, translated in (("étudiant", "student"), ("voit", "sees"), ("blanche", "white")):
    check(source_words[most[word]] == translated, f"For *{word}* it looks most at *{translated}*.")
check(sum(losses[-50:]) < 0.7 * sum(fixed_losses[-50:]), "RNNsearch's loss is well below RNNencdec's by then.")

# %% [markdown]
r"""
## 10. Decoding

**§4.2.** The best translation is not known; a *beam search* looks for a good one. It keeps a few hypotheses and
lengthens each by one word at a time. The paper does not say how wide its beam was. The recipe has GroundHog's values:
10 hypotheses, no normalisation by length, no end of sentence in the first half of the source's length (deviation D4).
The search is the repository's common one. It knows nothing of this model except `encode` and `step`.

### Your sentence

**Change** `sentence` and run the cell. These are the words that the model knows, without numerals and punctuation. Any
other, *old* for one, becomes UNK.
"""

# %%
known = sorted((unescape(word) for word in shortlists[0].words if word[0].isalpha()), key=str.lower)
check("old" not in known, "The model does not know *old*.")
Markdown(f"<details><summary>words</summary>{' '.join(known)}</details>")

# %%
from common.decode.beam import beam_search

sentence = "When the woman sleeps, her friends read interesting books."

searcher.eval()
ids, mask = pad([[*text.encode_source(sentence), EOS]])
hypotheses = beam_search(searcher, ids, mask, fast_recipe.decode)[0]
best = Batch(ids, mask, *pad([[*hypotheses[0].tokens, EOS]]))
with torch.no_grad():
    alpha = searcher.alignment(best)[0]  # (T, S)

drawing = Figure(figsize=(10, 4.4), layout="constrained")
left, right = drawing.subplots(1, 2, width_ratios=(1, 1.2))
translation = [*text.target_tokens(hypotheses[0].tokens), "</s>"]
draw_weights(left, alpha.numpy(), [*text.source_tokens(sentence), "</s>"], translation)
for place, hypothesis in enumerate(hypotheses[:6]):
    line = text.detokenise(text.target_tokens(hypothesis.tokens))
    right.text(0, -place, f"{hypothesis.score:7.2f}   {line}", fontsize=9, family="monospace", parse_math=False)
right.set(xlim=(0, 1), ylim=(-6, 1), title="log p and hypothesis, best first")
right.axis("off")
drawn(drawing, "The alignment of the reader's sentence with its translation, and the best hypotheses of the beam")

# %%
with torch.no_grad():
    nats = cross_entropy_sum(searcher(best), best.target, best.target_mask)
check(abs(hypotheses[0].score + nats) < 1e-3, "The score of a hypothesis is log p of the whole translation, Eq. (2).")
check(all(a.score >= b.score for a, b in zip(hypotheses, hypotheses[1:], strict=False)), "The best one comes first.")

# %% [markdown]
r"""
**Exercise 10.** Translate `sentence` *greedily*: begin with `START`, take the most probable word each time, and end
with `EOS`. You need `searcher.encode(ids, mask)` and `searcher.step(previous, state)`, whose `previous` is (1,). Give
the ids of the words as a tensor, without `EOS`. (A beam of 1 does the same.)
"""

# %%
yours = None

greedy = beam_search(searcher, ids, mask, replace(fast_recipe.decode, beam=1, min_factor=0.0))[0][0]
exercise(yours, torch.tensor(greedy.tokens, dtype=torch.int64))

# %% [markdown]
r"""
## 11. Results

### Long sentences, here

**§5.1, Figure 2.** The two models of this notebook translate the test sentences of their language. They have read
sentences of up to 12 words (dotted line), as the paper's models have read up to 30 or 50. The fixed vector loses as
sentences grow, well before that line. RNNsearch loses less before it, and goes on falling beyond: nothing has taught it
longer sentences. (The beam is 1 here, to save time.)
"""

# %%
from common.decode.translate import decode_ids
from common.score.bleu import bleu, tokenised_bleu
from common.score.by_length import sliding_bleu

questions, answers = read_parallel(*(DECLARED / "demo" / f"test.{language}.xz" for language in ("en", "fr")))
asked = [text.encode_source(line) for line in questions]
references = [tokenisers[1].tokenise(line) for line in answers]
words = np.array([len(ids) for ids in asked])

drawing = Figure(figsize=(7.5, 3.2), layout="constrained")
axes = drawing.subplots()
reached = {}
for title, kind, colour in (("RNNsearch", searcher, COLOURS[0]), ("RNNencdec", fixed, COLOURS[1])):
    found = decode_ids(kind.eval(), asked, replace(fast_recipe.decode, beam=1))
    outputs = [" ".join(text.target_tokens(hypothesis.tokens)) for hypothesis in found]
    counts = tokenised_bleu(outputs, references, tokenization=tokenisers[1].signature).statistics
    axes.plot(*zip(*sliding_bleu(counts, words, 3), strict=True), color=colour, label=title, linewidth=2)
    bands = {"short": words <= 7, "long": (10 <= words) & (words <= 12)}
    reached[title] = {band: bleu(counts[kept]) for band, kept in bands.items()}
axes.axvline(fast_recipe.batch.max_length, color="#777777", linestyle=":")
axes.set(xlabel="source words", ylabel="BLEU", ylim=(0, 100))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
drawn(drawing, "BLEU by sentence length: RNNsearch above RNNencdec at every length; both fall, RNNencdec much further")

# %%
lost = {title: found["short"] - found["long"] for title, found in reached.items()}
check(
    reached["RNNsearch"]["long"] > reached["RNNencdec"]["long"] + 10,
    "On sentences of 10 to 12 words RNNsearch is far better.",
)
check(
    0 < lost["RNNsearch"] < lost["RNNencdec"] / 2,
    "From up to 7 words to 10 to 12, it loses less than half as much as RNNencdec.",
)

# %% [markdown]
r"""
### Real text

What follows is read from results that are committed beside this notebook ([`results/`](results/README.md)); each
names its recipe, commit, data, seed and machine. No run of the paper's own size has been made. There are two smaller
ones, both English to French: **Multi30k**, image descriptions, lower-cased; and **Europarl, small**, parliament
proceedings, tested on the paper's own newstest2014. The sentences of Multi30k are short, so the names' 30 and 50 mean
other lengths there. Both models are narrower than the paper's, and have read much less. (The number of the paper's
pairs is that of Sutskever et al. 2014, who used the same text.)
"""

# %%
from common.report.results import read_results

runs = {"Multi30k, ours": read_results(PAPER.root / "results" / "multi30k")}
runs["Europarl small, ours"] = read_results(PAPER.root / "results" / "europarl-small")
systems = [name for name in printed if name != "moses"]
recipes = {title: {name: results[name].recipe for name in systems} for title, results in runs.items()}
recipes["the paper's"] = {name: PAPER.recipe(name).to_dict() for name in systems}
facts = [
    ("hidden units n", "rnnsearch-50", "model", "hidden"),
    ("training pairs, of any length", "rnnsearch-50", "estimate", "pairs"),
    ("longest sentence of -30, words", "rnnsearch-30", "batch", "max_length"),
    ("longest sentence of -50, words", "rnnsearch-50", "batch", "max_length"),
    ("updates of RNNsearch-50", "rnnsearch-50", "train", "steps"),
    ("updates of RNNsearch-50*", "rnnsearch-50-star", "train", "steps"),
]
rows = [[what, *(f"{one[name][part][key]:,}" for one in recipes.values())] for what, name, part, key in facts]
Markdown(table(["", *recipes], rows, (1, 2, 3)))

# %% [markdown]
r"""
So the numbers differ from the paper's, as they should. Compare the *order* of the systems.
"""

# %%
names = [printed[system]["label"] for system in systems]
drawing = Figure(figsize=(10, 2.8), layout="constrained")
*ours, theirs = drawing.subplots(1, 3, sharey=True)
for axes, (title, results) in zip(ours, runs.items(), strict=True):
    columns = [results[system].all for system in systems]
    low, high = zip(*(column.interval for column in columns), strict=True)
    scores = np.array([column.bleu for column in columns])
    axes.barh(names, scores, xerr=(scores - low, high - scores), color=COLOURS[0], ecolor="#444444")
    axes.set_title(title, fontsize=10)
theirs.barh(names, [printed[system]["All"] for system in systems], color="#BBBBBB")
theirs.set_title("newstest2014, the paper's", fontsize=10)
theirs.invert_yaxis()
for axes in (*ours, theirs):
    axes.set(xlabel="BLEU")
    axes.spines[["top", "right"]].set_visible(False)
drawn(drawing, "Table 1 as bars, three panels: Multi30k, Europarl and the paper's")

# %%
rows = [
    [printed[system]["label"], *(f"{one.bleu:.2f} ({one.interval[0]:.2f} to {one.interval[1]:.2f})" for one in scored)]
    for system in systems
    for scored in [[results[system].all for results in runs.values()]]
]
header = ["Table 1, all sentences", *(f"{title} (95%)" for title in runs), "the paper's"]
Markdown(
    table(header, [[*row, f"{printed[name]['All']:.2f}"] for name, row in zip(systems, rows, strict=True)], (1, 2, 3))
)

# %% [markdown]
r"""
Each bar is one training, and its interval is for the choice of test sentences. Another seed gives another score:
[every committed score](../lineage/results/cells.md) stands beside how far that may lie.

**Figure 2.** BLEU by sentence length. On Multi30k the fixed vector falls as the paper says, and RNNsearch-50 falls
too. On Europarl RNNencdec has learned so little in its few updates that there is nothing to fall from, and RNNsearch-50
falls.
"""

# %%
from papers.bahdanau2014 import figures

for results in runs.values():
    length_figure = figures.bleu_by_length({name: results[name] for name in systems})
    display(picture(length_figure), Markdown(length_figure.caption))

# %% [markdown]
r"""
**Figure 3, §5.2.1.** The paper's own four sentences, from our RNNsearch-50 on Europarl, and then four of Multi30k.
Words come in nearly the same order in both languages, so most of the weight lies near the diagonal, as the paper
says. In the paper it leaves the diagonal where nouns and adjectives change places, as in *zone économique
européenne*. With so little training α is not as sharp here: many rows look a word too far left, and some are nearly
even. The second sentence has *environnement marin* for *marine environment*, and RNNsearch-50 looks there at *the* and
*marine*. RNNsearch-50\*, which was trained longer, crosses.

**Change** `system` to `"rnnsearch-50-star"`, and see where its rows cross.
"""

# %%
system = "rnnsearch-50"
for results in reversed(runs.values()):
    alignments = figures.alignments(results[system])
    display(picture(alignments), Markdown(alignments.caption))

# %%
looked = {}
for name in ("rnnsearch-50", "rnnsearch-50-star"):
    sample = runs["Europarl small, ours"][name].attention[1]
    places = sample.weights("source").argmax(1)
    looked[name] = dict(zip(sample.target, (sample.source[place] for place in places), strict=True))
check(
    (looked["rnnsearch-50"]["environnement"], looked["rnnsearch-50"]["marin"]) == ("the", "marine"),
    "For *environnement marin* RNNsearch-50 looks most at *the* and at *marine*.",
)
check(
    (looked["rnnsearch-50-star"]["environnement"], looked["rnnsearch-50-star"]["marin"]) == ("environment", "marine"),
    "RNNsearch-50\\* looks most at *environment* and then at *marine*, which is one word back.",
)

# %% [markdown]
r"""
On real text too α stays even for long. This is one Europarl sentence over the course of that training:
"""

# %%
sharpening = PAPER.root / "results" / "europarl-small" / "figures" / "sharpening.png"
Image(sharpening.read_bytes(), retina=True, alt="Alpha of one sentence at five moments: even at first, then sharper")

# %% [markdown]
r"""
**Table 3, §5.2.2.** Long sentences, translated by both -50 models of Multi30k. RNNencdec begins well and then writes
something else.
"""

# %%
from papers.bahdanau2014.tables import table3_part

Markdown("\n\n".join(table3_part(runs["Multi30k, ours"])[1:3]))

# %% [markdown]
r"""
### What of the paper's conclusions holds here

Each conclusion is decided by code on these runs. Drawn are the differences in BLEU with their 95% intervals. Right of
the line the first system is better, as the paper says; left of it the conclusion does not hold here. The intervals do
not have the seeds in them, and each system is one training. So a difference that another seed may turn is open,
whatever its verdict. Section 12 shows how far three seeds of one model lie apart.
"""

# %%
import json

drawing = Figure(figsize=(9.5, 3.4), layout="constrained")
axes = drawing.subplots()
for shift, (title, scale) in enumerate((("Multi30k", "multi30k"), ("Europarl small", "europarl-small"))):
    decided = json.loads((PAPER.root / "results" / scale / "claims.json").read_text(encoding="utf-8"))
    shown = [claim for claim in decided if " beats " in claim["statement"] and claim["difference"]]
    values = [claim["difference"] for claim in shown]
    middle = np.array([value["value"] for value in values])
    reach = [middle - [value["low"] for value in values], [value["high"] for value in values] - middle]
    axes.errorbar(
        middle, np.arange(len(shown)) + 0.25 * shift, xerr=reach, fmt="o", color=COLOURS[shift], label=title, capsize=3
    )
axes.set_yticks(range(len(shown)), [claim["statement"].partition(":")[0].partition(",")[0] for claim in shown])
axes.axvline(0, color="black", linewidth=0.8)
axes.invert_yaxis()
axes.set(xlabel="difference in BLEU")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
drawn(drawing, "Differences between pairs of systems with their intervals, most of them above zero on both texts")

# %% [markdown]
r"""
These are all the claims, those about the length of sentences too. The paper's conclusion that RNNsearch-50 does
not deteriorate on long sentences does not come out at these sizes. How each is decided, and why some fail, stands with
the tables of [Multi30k](results/multi30k/tables.md#claims) and [Europarl](results/europarl-small/tables.md#claims).
"""

# %%
verdicts = {}
for title, scale in (("Multi30k", "multi30k"), ("Europarl small", "europarl-small")):
    decided = json.loads((PAPER.root / "results" / scale / "claims.json").read_text(encoding="utf-8"))
    verdicts[title] = {claim["statement"]: claim["verdict"] for claim in decided}
check(verdicts["Multi30k"].keys() == verdicts["Europarl small"].keys(), "Both texts have the same claims.")
steady = next(claim for claim in verdicts["Multi30k"] if "does not deteriorate" in claim)
check("holds" not in [one[steady] for one in verdicts.values()], "That one holds on neither text.")
rows = [[claim, *(one[claim] for one in verdicts.values())] for claim in verdicts["Multi30k"]]
Markdown(table(["claim", *verdicts], rows))

# %% [markdown]
r"""
**Exercise 11.** On Multi30k, which share of RNNsearch-50's BLEU does RNNencdec-50 reach on the sentences of at most
12 source words, and which on longer ones? `one.all.counts` has a sentence's n-gram counts in each row,
`one.all.lengths` its source words, and `bleu` makes a score of the rows that you select.
"""

# %%
one, other = (runs["Multi30k, ours"][name] for name in ("rnnsearch-50", "rnnencdec-50"))

yours = None

long = one.all.lengths > 12
shares = [bleu(other.all.counts[kept]) / bleu(one.all.counts[kept]) for kept in (~long, long)]
exercise(yours, torch.tensor(shares))

# %% [markdown]
r"""
## 12. What the paper leaves open

A paper of fifteen pages cannot say everything. These are the questions that a program must answer, with the answers
assumed here; the [README](README.md#open-questions-and-the-answer-assumed) has all of them, with the evidence.

| question | the paper | here |
|---|---|---|
| does $y_i$ come from $s_i$ or $s_{i-1}$? | both | GroundHog's order, R1 |
| what is $y_0$? | | the zero vector |
| has the source's `</s>` an annotation? | Figure 3 shows one | yes |
| is the loss summed or averaged before the clip? | | summed, as in GroundHog |
| which biases? | some, not printed | one for each sum |
| how wide is the beam? is the score normalised by length? | | 10, no |
| which BLEU? | | `multi-bleu.perl`, cased, on tokenised text |

Which answers matter? `variation` in section 9 tries some of them on two minutes of training. Those that make another
model were trained on Multi30k with three seeds each, and so was torch's GRU. Here are their differences from the
answers assumed; [the page](results/ambiguities/tables.md) says how far they may be trusted.
"""

# %%
differences = PAPER.root / "results" / "ambiguities" / "figures" / "differences.png"
Image(
    differences.read_bytes(),
    retina=True,
    alt="Differences of six variants from the base in BLEU and twice in likelihood: single trainings, means, intervals",
)

# %% [markdown]
r"""
Dots are single trainings, bars 95% intervals of the means, and within the grey a difference counts as none. A choice
that matters has its whole bar on one side of zero. Most bars cross it and leave the grey: with three seeds these
differences are *undecided*, which is not the same as *none*. And of six bars one may miss zero by chance, so the page
also says what is left when six comparisons are corrected for. The panel on the right was added after the results were
seen.

**Change** `variant` to `"r2"`, `"factored"`, `"authors-biases"`, `"mean-loss"` or `"torch-gru"`, and `measure` to
`BEST`, the likelihood at each training's best checkpoint.
"""

# %%
from common.report.variants import compared, lasting
from papers.bahdanau2014.ambiguities.page import BEST, BLEU

answers = read_results(PAPER.root / "results" / "ambiguities")
variant, measure = "r3", BLEU
differences = compared(answers, "base", measure)
kept = "also" if lasting(differences[variant], len(differences)) else "not"
verdict = f"**{measure.verdict(differences[variant])}** ({kept} for six comparisons)"
Markdown(f"{answers[variant].title}, {measure.name}: {measure.interval(differences[variant])}, {verdict}")

# %%
in_bleu, at_best = (compared(answers, "base", measure) for measure in (BLEU, BEST))
undecided = [name for name, difference in in_bleu.items() if BLEU.verdict(difference).startswith("undecided")]
check(len(undecided) > len(in_bleu) / 2, "In BLEU most of these choices are undecided with three seeds.")
check(
    not any(lasting(difference, len(in_bleu)) for difference in in_bleu.values()),
    "In BLEU no difference is left when all comparisons are corrected for.",
)
worse = [name for name, difference in at_best.items() if lasting(difference, len(at_best)) and difference.value > 0]
check(worse == ["r2", "r3"], "At the best checkpoints R2 and R3 have a worse likelihood than R1, also when corrected.")

# %% [markdown]
r"""
**Exercise 12.** Those bars rest on how far one model's trainings lie apart when nothing but the seed differs. Compute
the standard deviation of BLEU over seeds, pooled over all seven models: the squared distances of all trainings from
the mean of their own model are summed, and divided by the number of trainings less the number of models. `scores` is
(7, 3). (Compare it with the differences above.)
"""

# %%
from common.score.seeds import pooled

scores = torch.tensor([[run.all.bleu for run in result.trainings] for result in answers.values()])

yours = None

exercise(yours, pooled(scores.tolist()).deviation)

# %% [markdown]
r"""
Where to go from here:

- [`model.py`](model.py) from top to bottom, in the order of Appendix A; [`fast.py`](fast.py), the same functions
  arranged for speed.
- [`recipes/wmt14/rnnsearch-50.yaml`](recipes/wmt14/rnnsearch-50.yaml): each number of the paper's training with its
  source.
- [The notebook of the other paper](../vaswani2017/notebook.ipynb), where attention does without recurrence.
"""
