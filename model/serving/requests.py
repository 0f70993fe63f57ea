"""What the API takes: the fields of OpenAI's requests that mean something here, and a few of our own (`lang`, `task`, `top_k`,
`guidance`). Others are passed over, as clients send many."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from model.config import PICTURE_TOP_P
from model.sampling import Modalities, Sampling

LARGEST = 2**63 - 1


def whole(text: str) -> str:
    """The same text. JSON can spell half a character (a lone surrogate), which no encoding and no tokenizer has."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("is no text: half a character (a surrogate) stands alone in it") from None
    return text


Said = Annotated[str, AfterValidator(whole)]
Word = Annotated[Said, Field(max_length=200)]


class Body(BaseModel):
    """What all requests share."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)

    model: str = Field(default="millrace", max_length=200, description="A name of GET /v1/models.")


class Sampled(Body):
    """How tokens are chosen."""

    temperature: float | None = Field(default=None, ge=0, le=100, description="0 takes the likeliest token.")
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1, le=LARGEST)
    guidance: float | None = Field(default=None, ge=0, le=100, description="Weight of the words in pictures.")
    seed: int | None = Field(
        default=None, ge=-LARGEST, le=LARGEST, description="Equal seeds give equal answers."
    )
    n: int | None = Field(default=1, ge=1, le=128, description="Answers to one request.")
    lang: Word | None = Field(default=None, description="Language of the answer.")

    def sampling(self, made: Modalities, usual: float, most: int, seed: int) -> Sampling:
        """Texts are the likeliest, pictures are drawn, unless it is said."""
        temperature, top_p = (0.0, 1.0) if made == "text" else (1.0, PICTURE_TOP_P)
        return Sampling(
            temperature=temperature if self.temperature is None else self.temperature,
            top_p=top_p if self.top_p is None else self.top_p,
            top_k=self.top_k,
            guidance=usual if self.guidance is None else self.guidance,
            seed=seed,
            max_tokens=most,
            modalities=made,
        )


class StreamOptions(BaseModel):
    """What a stream tells beside the answer."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool | None = None


class Texted(Sampled):
    """What requests for text share."""

    stop: Annotated[Said, Field(max_length=1000)] | list[Word] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    task: Word | None = Field(
        default=None, description="caption, vqa, translate …: a task of the training data."
    )
    max_tokens: int | None = Field(default=None, ge=1, le=LARGEST)

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end the text."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class Url(BaseModel):
    """Where a picture is, or the picture itself."""

    model_config = ConfigDict(extra="ignore")
    url: Said = Field(description="data:image/png;base64,…")


class PicturePart(BaseModel):
    """A picture of a message."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["image_url"]
    image_url: Url


class TextPart(BaseModel):
    """A text of a message."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["text"]
    text: Said


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Said | list[Annotated[TextPart | PicturePart, Field(discriminator="type")]] | None = None

    @property
    def words(self) -> str:
        """Its texts, put together."""
        if not isinstance(self.content, list):
            return self.content or ""
        return " ".join(part.text for part in self.content if isinstance(part, TextPart)).strip()

    @property
    def urls(self) -> list[str]:
        """Its pictures."""
        parts = self.content if isinstance(self.content, list) else ()
        return [part.image_url.url for part in parts if isinstance(part, PicturePart)]


class ChatRequest(Texted):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1, max_length=256)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=LARGEST)
    modalities: list[Literal["text", "image"]] | None = Field(
        default=None, max_length=8, description="What may come out: text (usual), image, or both, mixed."
    )

    @property
    def made(self) -> Modalities:
        """What comes out."""
        named = set(self.modalities or ("text",))
        return "mixed" if len(named) > 1 else "image" if "image" in named else "text"


class CompletionRequest(Texted):
    """`POST /v1/completions`."""

    prompt: Said | list[Said] | list[int] | list[list[int]] = Field(
        description="Text to go on from, or ids; a list of them gives an answer each."
    )

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each that is to be gone on from."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[one for one in self.prompt if isinstance(one, int)]]
        return [one for one in self.prompt if not isinstance(one, int)]


class ImageRequest(Sampled):
    """`POST /v1/images/generations`."""

    prompt: Said = Field(description="What is to be drawn.")
    size: str | None = Field(
        default=None, max_length=20, description='"auto", or width x height as "256x256".'
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        default=None, description="url is a data: URL."
    )


class EmbeddingRequest(Body):
    """`POST /v1/embeddings`: a text that is a `data:image/…` URL is a picture."""

    input: Said | list[Said] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = Field(default=None, ge=1, le=LARGEST)
    lang: Word | None = None

    @property
    def inputs(self) -> list[str | list[int]]:
        """Each whose state is wanted."""
        if isinstance(self.input, str):
            return [self.input]
        if self.input and isinstance(self.input[0], int):
            return [[one for one in self.input if isinstance(one, int)]]
        return [one for one in self.input if not isinstance(one, int)]


def wrong(errors: list[Any]) -> tuple[str, str]:
    """What is wrong with a request, in a line, and where: the first mistake, without what was sent."""
    if not errors:
        return "the request cannot be read", ""
    where = ".".join(str(part) for part in errors[0]["loc"] if part != "body")
    return f"{where or 'body'}: {errors[0]['msg']}", where
