"""Questions to the whole corpus: what is a copy, what leaked, what nobody wrote."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from pipeline.gathers.boilerplate import Boilerplate
from pipeline.gathers.decontaminate import Decontaminate
from pipeline.gathers.near_duplicates import NearDuplicates
from pipeline.step import StepError
from storage.limits import Limits
from storage.media import normalise


def blobs(seed: int, size: int = 96) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def as_jpeg(image: Image.Image, quality: int = 70) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out)


def diagram(seed: int, words: list[str], left: int = 40) -> Image.Image:
    """Boxes, circles and arrows at random places, with labels beside them and a margin at the left."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (360 + left, 300), "white")
    draw = ImageDraw.Draw(picture)
    places = [(left + 10 + 110 * column, 20 + 90 * row) for column in range(3) for row in range(3)]
    for at, (x, y) in enumerate(places):
        colour = tuple(int(level) for level in rng.integers(60, 220, 3))
        x, y, width, height = (
            x + int(rng.integers(20)),
            y + int(rng.integers(20)),
            *map(int, rng.integers(30, 70, 2)),
        )
        (draw.rectangle if rng.random() < 0.5 else draw.ellipse)(
            (x, y, x + width, y + height), colour, "black", 3
        )
        draw.line((x, y, *places[int(rng.integers(9))]), "black", 3)
        draw.text((x + 4, y + height + 2), words[at % len(words)], "black")
    return picture


ENGLISH, SPANISH = ["electric field", "wave", "axis"], ["campo eléctrico", "onda", "eje de rotación"]


def groups_of(corpus) -> list[list[str]]:
    """Names that share a group with others."""
    together: dict[str, list[str]] = {}
    for name, group in sorted(corpus.groups().items()):
        together.setdefault(group, []).append(name)
    return sorted(names for names in together.values() if len(names) > 1)


def kept(verdicts: dict) -> set[str]:
    return {sample for sample, (stays, _, _) in verdicts.items() if stays}


class TestNearDuplicates:
    def test_copies_join_one_group_and_others_stay_alone(self, corpus) -> None:
        for seed in range(5):
            corpus.picture(f"original{seed}", blobs(seed))
        corpus.picture("reencoded", as_jpeg(blobs(0)))
        corpus.picture("resized", blobs(1).resize((70, 70)))
        corpus.picture("brighter", ImageEnhance.Brightness(blobs(2)).enhance(1.15))
        for image in ("original0", "reencoded"):
            corpus.sample(f"s-{image}", image, image)
        corpus.run(NearDuplicates())
        groups = corpus.groups()
        assert groups["original0"] == groups["reencoded"]
        assert groups["original1"] == groups["resized"]
        assert groups["original2"] == groups["brighter"]
        assert len(set(groups.values())) == 5
        assert len(groups) == 8, "every picture is written down, so that it is matched once"

    def test_same_layout_in_another_colour_is_no_copy(self, corpus) -> None:
        for name, colour in (("red", (200, 30, 30)), ("green", (30, 140, 60)), ("blue", (30, 60, 220))):
            picture = np.full((64, 64, 3), 250, np.uint8)
            picture[20:34, 20:34] = colour
            corpus.picture(name, picture)
            corpus.sample(f"s-{name}", name, "a square")
        assert len(kept(corpus.run(NearDuplicates()))) == 3
        assert len(set(corpus.groups().values())) == 3

    def test_flat_pictures_never_join(self, corpus) -> None:
        for name, level in (("a", 200), ("b", 201), ("c", 120)):
            corpus.picture(name, Image.new("RGB", (64, 64), (level,) * 3))
            corpus.sample(f"s-{name}", name, "grey")
        assert len(kept(corpus.run(NearDuplicates()))) == 3
        assert corpus.groups() == {"a": "a", "b": "b", "c": "c"}

    def test_a_drawing_with_other_letters_and_margins_joins(self, corpus) -> None:
        for seed in range(6):
            corpus.picture(f"{seed}en", diagram(seed, ENGLISH))
            corpus.picture(f"{seed}es", diagram(seed, SPANISH, left=43))
        corpus.run(NearDuplicates())
        assert groups_of(corpus) == [[f"{seed}en", f"{seed}es"] for seed in range(6)]

    @pytest.mark.parametrize("relabelled", [True, False])
    def test_a_drawing_that_letters_pushed_joins_if_so_wanted(self, corpus, relabelled: bool) -> None:
        for name, picture in (("en", diagram(6, ENGLISH)), ("es", diagram(6, SPANISH, left=44))):
            corpus.picture(name, picture)
        corpus.run(NearDuplicates(relabelled=relabelled, lines=0.8))  # the default would rather keep both
        assert groups_of(corpus) == ([["en", "es"]] if relabelled else [])

    def test_a_drawing_with_one_part_in_another_colour_is_another(self, corpus) -> None:
        one, other = diagram(1, ENGLISH), diagram(1, ENGLISH)
        for picture, colour in ((one, (30, 60, 200)), (other, (200, 60, 30))):
            ImageDraw.Draw(picture).rectangle((300, 200, 380, 280), colour)
            corpus.picture("blue" if picture is one else "red", picture)
        corpus.run(NearDuplicates())
        assert groups_of(corpus) == []

    def test_the_same_shape_elsewhere_is_another_picture(self, corpus) -> None:
        for at in range(4):
            picture = Image.new("RGB", (64, 64), (240, 240, 235))
            ImageDraw.Draw(picture).ellipse((8 + 5 * at, 20, 32 + 5 * at, 44), (200, 40, 40))
            corpus.picture(f"p{at}", picture)
        corpus.run(NearDuplicates())
        assert groups_of(corpus) == []

    @pytest.mark.parametrize("picture", [blobs(3, 96), diagram(3, ENGLISH), as_jpeg(blobs(4, 200))])
    @pytest.mark.parametrize(
        ("orientations", "found"),
        [("none", {"left0", "other"}), ("flip", {"left0", "mirrored0", "other"}), ("all", None)],
    )
    def test_turned_and_mirrored_copies_join_where_wanted(self, corpus, picture, orientations, found) -> None:
        everything = {"other"}
        for turn in range(4):
            for kind, seen in (("left", picture), ("mirrored", ImageOps.mirror(picture.convert("RGB")))):
                corpus.picture(f"{kind}{turn}", seen.rotate(90 * turn, expand=True))
                everything.add(f"{kind}{turn}")
        corpus.picture("other", as_jpeg(picture.convert("RGB"), 85))
        corpus.picture("foreign", blobs(77))
        corpus.run(NearDuplicates(orientations=orientations))
        groups = corpus.groups()
        assert {name for name in groups if groups[name] == groups["left0"]} == (found or everything)
        assert groups["foreign"] == "foreign"

    def test_a_turned_copy_that_comes_later_joins(self, corpus) -> None:
        corpus.picture("a", blobs(0))
        corpus.run(NearDuplicates(orientations="all"))
        corpus.picture("b", as_jpeg(blobs(0)).rotate(-90))
        corpus.run(NearDuplicates(orientations="all"))
        assert groups_of(corpus) == [["a", "b"]]

    @pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "WEBP"])
    def test_equal_pixels_in_another_lossless_file_are_one_picture(self, corpus, kind: str) -> None:
        picture = blobs(0).quantize(200).convert("RGB")  # so few colours that a GIF holds them all
        files = {}
        for encoding in ("PNG", kind):
            out = io.BytesIO()
            picture.save(out, encoding, **({"lossless": True} if encoding == "WEBP" else {}))
            files[encoding] = normalise(out.getvalue(), Limits())
        assert files[kind].original_format == kind.lower()
        assert files[kind].image_id == files["PNG"].image_id

    def test_of_equally_large_originals_the_preferred_one_stays(self, corpus) -> None:
        corpus.db.execute("CREATE TABLE picture_quality (image_id VARCHAR, sharpness FLOAT)")
        for name, sharpness, side in (("p", 0.2, 90), ("q", 0.7, 90), ("r", None, 90), ("s", 0.9, 80)):
            corpus.picture(name, as_jpeg(blobs(0), 80 + ord(name) % 7), side=side)
            corpus.sample(f"s{name}", name, "a hat")
            corpus.db.execute("INSERT INTO picture_quality VALUES (?, ?)", [name, sharpness])
        verdicts = corpus.run(NearDuplicates(prefer="picture_quality.sharpness"))
        assert kept(verdicts) == {"sq"}

    def test_a_preference_for_a_signal_that_is_not_there_is_an_error(self, corpus) -> None:
        with pytest.raises(StepError, match=r"annotators\.picture_quality"):
            corpus.run(NearDuplicates(prefer="picture_quality.sharpness"))

    def test_rows_drop_only_when_everything_agrees(self, corpus) -> None:
        corpus.picture("p", blobs(0), side=500)
        corpus.picture("q", as_jpeg(blobs(0)), side=400)
        corpus.sample("1", "p", "A red hat.")
        corpus.sample("2", "q", "a  red hat")
        corpus.sample("3", "q", "a hat that is red")
        corpus.sample("4", "q", "a red hat", lang="fr")
        corpus.sample("5", "q", "a red hat", prompt="what is this?", task="vqa")
        corpus.sample("6", "q", "a red hat", prompt="what is that?", task="vqa")
        verdicts = corpus.run(NearDuplicates())
        assert verdicts["2"] == (False, "duplicate", "1")
        assert kept(verdicts) == {"1", "3", "4", "5", "6"}

    def test_the_larger_original_stays_then_the_smaller_id(self, corpus) -> None:
        corpus.picture("p", blobs(0), side=300)
        corpus.picture("q", as_jpeg(blobs(0)), side=900)
        corpus.picture("r", as_jpeg(blobs(0), 80), side=900)
        for sample, image in (("1", "p"), ("3", "q"), ("2", "r")):
            corpus.sample(sample, image, "a hat")
        verdicts = corpus.run(NearDuplicates())
        assert kept(verdicts) == {"2"}
        assert verdicts["1"][2] == verdicts["3"][2] == "2"

    def test_a_labelled_row_stays_rather_than_its_unlabelled_copy(self, corpus) -> None:
        corpus.picture("p", blobs(0))
        corpus.sample("1", "p", "a hat")
        corpus.sample("2", "p", "a hat", label="hat")
        assert kept(corpus.run(NearDuplicates())) == {"2"}

    def test_labels_count_where_there_is_no_text(self, corpus) -> None:
        corpus.picture("p", blobs(0))
        for sample, label in (("1", "cat"), ("2", "dog"), ("3", "cat"), ("4", None), ("5", None)):
            corpus.sample(sample, "p", None, label=label, task="label")
        assert kept(corpus.run(NearDuplicates())) == {"1", "2", "4"}

    def test_rows_without_a_picture_agree_by_their_texts(self, corpus) -> None:
        corpus.sample("1", None, "bonjour", prompt="hello", task="translate", lang="fr")
        corpus.sample("2", None, "Bonjour", prompt="Hello.", task="translate", lang="fr")
        corpus.sample("3", None, "bonjour", prompt="good day", task="translate", lang="fr")
        corpus.sample("4", None, None)
        corpus.sample("5", None, None)
        assert kept(corpus.run(NearDuplicates())) == {"1", "3", "4", "5"}

    def test_what_came_earlier_stays_and_keeps_its_group(self, corpus) -> None:
        corpus.picture("m", blobs(0), side=100)
        corpus.sample("z", "m", "a hat")
        assert kept(corpus.run(NearDuplicates())) == {"z"}
        corpus.picture("a", as_jpeg(blobs(0)), side=900)
        corpus.sample("b", "a", "a hat")
        corpus.sample("c", "a", "another hat")
        verdicts = corpus.run(NearDuplicates())
        assert verdicts == {"b": (False, "duplicate", "z"), "c": (True, None, None)}
        assert corpus.groups() == {"m": "m", "a": "m"}

    def test_in_parts_or_at_once_the_same_pictures_are_together(self, corpus) -> None:
        pictures = {f"{seed}{kind}": (seed, kind) for seed in range(6) for kind in "abc"}
        for at, (name, (seed, kind)) in enumerate(sorted(pictures.items(), key=lambda item: item[0][::-1])):
            corpus.picture(
                name, {"a": blobs, "b": lambda s: as_jpeg(blobs(s)), "c": lambda s: blobs(s, 64)}[kind](seed)
            )
            corpus.sample(f"s{at:02d}", name, f"text {at}")
            if at % 5 == 0:
                corpus.run(NearDuplicates())
        corpus.run(NearDuplicates())
        groups = corpus.groups()
        together = [{name for name in groups if groups[name] == group} for group in set(groups.values())]
        assert sorted(map(sorted, together)) == [[f"{s}a", f"{s}b", f"{s}c"] for s in range(6)]

    def test_a_picture_between_two_old_groups_joins_one_and_both_stay(self, corpus) -> None:
        steps = [ImageEnhance.Contrast(blobs(0)).enhance(x) for x in (1.0, 0.5)]
        middle = ImageEnhance.Contrast(blobs(0)).enhance(0.7)
        for name, picture in zip("ab", steps, strict=True):
            corpus.picture(name, picture)
            corpus.sample(f"s{name}", name, name)
        strict = NearDuplicates(tolerance=6)
        corpus.run(strict)
        before = corpus.groups()
        corpus.picture("m", middle)
        corpus.sample("sm", "m", "m")
        corpus.run(strict)
        assert {name: corpus.groups()[name] for name in "ab"} == before
        assert corpus.groups()["m"] in before.values()

    def test_a_training_row_does_not_displace_a_held_out_one(self, corpus) -> None:
        corpus.picture("p", blobs(0), side=100)
        corpus.picture("q", as_jpeg(blobs(0)), side=900)
        corpus.sample("held", "p", "a hat", held_out=True)
        corpus.sample("train", "q", "a hat")
        assert "held" in kept(corpus.run(NearDuplicates()))

    def test_the_order_of_arrival_in_one_round_does_not_matter(self, corpus) -> None:
        import copy

        names = [f"{seed}{kind}" for seed in range(4) for kind in "ab"]
        for name in reversed(names):
            corpus.picture(name, blobs(int(name[0])) if name[1] == "a" else as_jpeg(blobs(int(name[0]))))
            corpus.sample(f"s{name}", name, "a hat")
        there = type(corpus)()
        for name in names:
            there.picture(name, blobs(int(name[0])) if name[1] == "a" else as_jpeg(blobs(int(name[0]))))
            there.sample(f"s{name}", name, "a hat")
        assert copy.copy(corpus.run(NearDuplicates())) == there.run(NearDuplicates())
        assert corpus.groups() == there.groups()


class TestDecontaminate:
    def run(self, corpus) -> dict:
        corpus.run(NearDuplicates())
        return corpus.run(Decontaminate())

    def test_exact_and_reencoded_copies_of_held_out_pictures_go(self, corpus) -> None:
        for seed in range(3):
            corpus.picture(f"p{seed}", blobs(seed))
        corpus.picture("copy", as_jpeg(blobs(1)))
        corpus.sample("held0", "p0", "one", held_out=True)
        corpus.sample("held1", "p1", "two", held_out=True)
        corpus.sample("exact", "p0", "another caption")
        corpus.sample("reencoded", "copy", "two")
        corpus.sample("clean", "p2", "two")
        verdicts = self.run(corpus)
        assert verdicts["exact"] == (False, "contaminated", "held0")
        assert verdicts["reencoded"] == (False, "contaminated", "held1")
        assert kept(verdicts) == {"held0", "held1", "clean"}

    def test_a_leak_that_comes_later_is_found(self, corpus) -> None:
        corpus.picture("p", blobs(0))
        corpus.sample("held", "p", "one", held_out=True)
        self.run(corpus)
        corpus.picture("q", as_jpeg(blobs(0)))
        corpus.sample("late", "q", "other")
        assert self.run(corpus) == {"late": (False, "contaminated", "held")}

    def test_texts_leak_only_without_a_picture(self, corpus) -> None:
        corpus.picture("p", blobs(0))
        corpus.picture("q", blobs(1))
        corpus.sample("held-text", None, "Once upon a time there was a circle.", held_out=True, task="text")
        corpus.sample("held-caption", "p", "a red circle on grey", held_out=True)
        corpus.sample("leaked", None, "once upon a time there was a  circle", task="text")
        corpus.sample("caption", "q", "a red circle on grey")
        corpus.sample("caption-text", None, "a red circle on grey", task="text")
        corpus.sample("other", None, "Once upon a time there was a square.", task="text")
        verdicts = self.run(corpus)
        assert verdicts["leaked"] == (False, "contaminated", "held-text")
        assert kept(verdicts) == {"held-text", "held-caption", "caption", "caption-text", "other"}

    def test_the_prompt_belongs_to_the_text(self, corpus) -> None:
        held = {"prompt": "How many are there?", "task": "text", "held_out": True}
        corpus.sample("held", None, "there are three", **held)
        corpus.sample("same", None, "there are three", prompt="how many are there?", task="text")
        corpus.sample("other", None, "there are three", prompt="how many circles?", task="text")
        assert kept(self.run(corpus)) == {"held", "other"}

    def test_nothing_held_out_nothing_dropped(self, corpus) -> None:
        corpus.picture("p", blobs(0))
        corpus.sample("1", "p", "a hat")
        corpus.sample("2", None, "a story of hats", task="text")
        assert len(kept(self.run(corpus))) == 2


class TestBoilerplate:
    def fill(self, corpus, captions: dict[str, int]) -> None:
        """Each caption under so many different pictures."""
        for text, count in captions.items():
            for _ in range(count):
                at = self.at = getattr(self, "at", 0) + 1
                corpus.picture(f"p{at}", blobs(at, 32))
                corpus.sample(f"{text} {at}", f"p{at}", text)
        corpus.run(NearDuplicates())

    def test_a_caption_under_many_pictures_goes(self, corpus) -> None:
        self.fill(corpus, {"Welcome to our shop": 6, "a dog": 2, "a cat": 1})
        verdicts = corpus.run(Boilerplate(pictures=5, share=0.1))
        assert {s.rsplit(" ", 1)[0] for s in kept(verdicts)} == {"a dog", "a cat"}
        assert {v[2] for v in verdicts.values() if not v[0]} == {"on 6 pictures"}

    def test_both_the_number_and_the_share_must_be_reached(self, corpus) -> None:
        self.fill(corpus, {"Welcome to our shop": 4, "a dog": 4})
        assert len(kept(corpus.run(Boilerplate(pictures=5, share=0.0)))) == 8
        assert len(kept(type(corpus).run(self.again(corpus), Boilerplate(pictures=2, share=0.6)))) == 8
        assert len(kept(type(corpus).run(self.again(corpus), Boilerplate(pictures=2, share=0.4)))) == 0

    def again(self, corpus):
        corpus.db.execute("DELETE FROM decisions WHERE stage = 'boilerplate'")
        return corpus

    def test_copies_of_one_picture_count_once(self, corpus) -> None:
        for at in range(6):
            corpus.picture(f"p{at}", as_jpeg(blobs(0), 70 + at))
            corpus.sample(f"s{at}", f"p{at}", "a hat", lang=f"l{at}")
        corpus.run(NearDuplicates())
        assert len(kept(corpus.run(Boilerplate(pictures=2, share=0.0)))) == 6

    @pytest.mark.parametrize(
        "text",
        ["IMG_1234.JPG", "DSC00042", "untitled", "Image", "photo 12", "my-file_2.png", "Click to enlarge",
         "Stock photo", "no description available", "Placeholder image", "Image may contain: cat",
         "© 2020 Somebody. All rights reserved."],
    )  # fmt: skip
    def test_what_nobody_wrote_goes(self, corpus, text: str) -> None:
        self.fill(corpus, {text: 1})
        assert kept(corpus.run(Boilerplate())) == set()

    @pytest.mark.parametrize(
        "text",
        [
            "a photo of a dog",
            "an image of the moon",
            "file cabinets",
            "a picture",
            "icons on a wall",
            "it's art",
        ],
    )
    def test_what_somebody_wrote_stays(self, corpus, text: str) -> None:
        self.fill(corpus, {text: 1})
        assert len(kept(corpus.run(Boilerplate()))) == 1

    def test_only_captions_are_judged(self, corpus) -> None:
        corpus.picture("p", blobs(0))
        corpus.sample("1", "p", "photo", task="vqa", prompt="what is it?")
        corpus.sample("2", None, "photo", task="text")
        corpus.run(NearDuplicates())
        assert len(kept(corpus.run(Boilerplate()))) == 2


@pytest.mark.parametrize("gather", [NearDuplicates(), Decontaminate(), Boilerplate()])
def test_every_candidate_gets_one_decision_and_a_second_round_none(corpus, gather) -> None:
    corpus.picture("p", blobs(0))
    for at in range(4):
        corpus.sample(str(at), "p" if at % 2 else None, "a hat" if at < 3 else None)
    assert sorted(corpus.run(gather)) == ["0", "1", "2", "3"]
    assert corpus.run(gather) == {}
