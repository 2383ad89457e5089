"""The brush: shapes in unit coordinates, and the few strokes that the whole painter is made of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tintype.errors import MissingExtraError
from tintype.scenes.colours import RGB

try:
    import skia
except ImportError as error:
    raise MissingExtraError(
        'The painter needs skia-python: pip install "tintype[scenes]". If it is installed and does not load, system '
        f"libraries are missing; on Debian or Ubuntu: apt-get install libegl1 libgl1 libfontconfig1. ({error})"
    ) from error

Point = tuple[float, float]


def polygon(*points: Point) -> skia.Path:
    """A closed shape with straight sides."""
    path = skia.Path()
    path.addPoly([skia.Point(*point) for point in points], True)
    return path


def line(*points: Point) -> skia.Path:
    """An open row of straight pieces, to be stroked."""
    path = skia.Path()
    path.addPoly([skia.Point(*point) for point in points], False)
    return path


def curve(*points: Point, closed: bool = False) -> skia.Path:
    """A smooth line through all points (Catmull-Rom)."""
    path = skia.Path()
    path.moveTo(*points[0])
    n = len(points)
    for i in range(n if closed else n - 1):
        p1, p2 = points[i], points[(i + 1) % n]
        p0 = points[(i - 1) % n] if closed or i > 0 else p1
        p3 = points[(i + 2) % n] if closed or i + 2 < n else p2
        path.cubicTo(
            p1[0] + (p2[0] - p0[0]) / 6,
            p1[1] + (p2[1] - p0[1]) / 6,
            p2[0] - (p3[0] - p1[0]) / 6,
            p2[1] - (p3[1] - p1[1]) / 6,
            *p2,
        )
    if closed:
        path.close()
    return path


def symmetric(*points: Point) -> skia.Path:
    """A smooth closed shape whose right half, from top to bottom, goes through ``points``."""
    left = [(-x, y) for x, y in reversed(points) if x]
    return curve(*points, *left, closed=True)


def land(*ridge: Point, base: float = 1.02) -> skia.Path:
    """Everything under a smooth ridge."""
    path = curve(*ridge)
    path.lineTo(ridge[-1][0], base)
    path.lineTo(ridge[0][0], base)
    path.close()
    return path


def oval(x: float, y: float, rx: float, ry: float | None = None) -> skia.Path:
    """An ellipse around (x, y); a circle when ``ry`` is left out."""
    path = skia.Path()
    ry = rx if ry is None else ry
    path.addOval(skia.Rect(x - rx, y - ry, x + rx, y + ry))
    return path


def box(x0: float, y0: float, x1: float, y1: float, corner: float = 0.0) -> skia.Path:
    """A rectangle with round corners."""
    path = skia.Path()
    path.addRoundRect(skia.Rect(x0, y0, x1, y1), corner, corner)
    return path


def arch(x0: float, y0: float, x1: float, y1: float) -> skia.Path:
    """A door or window with a round top at ``y0``."""
    r = (x1 - x0) / 2
    path = skia.Path()
    path.moveTo(x0, y1)
    path.lineTo(x0, y0 + r)
    path.arcTo(skia.Rect(x0, y0, x1, y0 + 2 * r), 180, 180, False)
    path.lineTo(x1, y1)
    path.close()
    return path


def arc(x: float, y: float, r: float, start: float, sweep: float) -> skia.Path:
    """A piece of a circle, in degrees clockwise from the right, to be stroked."""
    path = skia.Path()
    path.addArc(skia.Rect(x - r, y - r, x + r, y + r), start, sweep)
    return path


class Brush:
    """Paints shapes on a canvas; every colour is seen in the brush's ``light`` unless it shines by itself."""

    def __init__(self, canvas: skia.Canvas, light: Callable[[RGB], RGB] = lambda colour: colour) -> None:
        self.canvas = canvas
        self.light = light

    def fill(self, path: skia.Path, colour: RGB, alpha: float = 1.0, blur: float = 0.0, shines: bool = False) -> None:
        """Fill with one colour, with an edge as soft as ``blur``."""
        paint = skia.Paint(AntiAlias=True, Color4f=self._colour(colour, alpha, shines))
        if blur:
            paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
        self.canvas.drawPath(path, paint)

    def stroke(self, path: skia.Path, colour: RGB, width: float, alpha: float = 1.0, shines: bool = False) -> None:
        """Draw along a path with round ends."""
        paint = skia.Paint(
            AntiAlias=True,
            Color4f=self._colour(colour, alpha, shines),
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width,
            StrokeCap=skia.Paint.kRound_Cap,
            StrokeJoin=skia.Paint.kRound_Join,
        )
        self.canvas.drawPath(path, paint)

    def shade(
        self,
        path: skia.Path,
        start: Point,
        end: Point,
        colours: Sequence[RGB],
        alphas: Sequence[float] | None = None,
        stops: Sequence[float] | None = None,
        shines: bool = False,
    ) -> None:
        """Fill with a gradient from ``start`` to ``end``."""
        codes = self._codes(colours, alphas, shines)
        shader = skia.GradientShader.MakeLinear([skia.Point(*start), skia.Point(*end)], codes, stops)
        self.canvas.drawPath(path, skia.Paint(AntiAlias=True, Shader=shader))

    def glow(self, x: float, y: float, radius: float, colour: RGB, alpha: float = 1.0) -> None:
        """Light that fades out from (x, y)."""
        codes = self._codes([colour] * 4, [alpha, alpha * 0.55, alpha * 0.18, 0], shines=True)
        shader = skia.GradientShader.MakeRadial(skia.Point(x, y), radius, codes, [0, 0.3, 0.65, 1])
        self.canvas.drawPath(oval(x, y, radius), skia.Paint(AntiAlias=True, Shader=shader))

    def ball(self, x: float, y: float, radius: float, light: RGB, dark: RGB, shines: bool = False) -> None:
        """A sphere, lit from the upper left."""
        codes = self._codes([light, light, dark], None, shines)
        centre = skia.Point(x - 0.35 * radius, y - 0.35 * radius)
        shader = skia.GradientShader.MakeRadial(centre, 1.4 * radius, codes, [0, 0.25, 1])
        self.canvas.drawPath(oval(x, y, radius), skia.Paint(AntiAlias=True, Shader=shader))

    @contextmanager
    def at(self, x: float, y: float, scale: float | Point = 1.0, turn: float = 0.0) -> Iterator[None]:
        """Move the origin to (x, y), then turn by degrees and scale."""
        self.canvas.save()
        self.canvas.translate(x, y)
        self.canvas.rotate(turn)
        self.canvas.scale(*(scale if isinstance(scale, tuple) else (scale, scale)))
        try:
            yield
        finally:
            self.canvas.restore()

    @contextmanager
    def inside(self, path: skia.Path) -> Iterator[None]:
        """Paint only inside a shape."""
        self.canvas.save()
        self.canvas.clipPath(path, doAntiAlias=True)
        try:
            yield
        finally:
            self.canvas.restore()

    @contextmanager
    def layer(self, bounds: tuple[float, float, float, float], paint: Any) -> Iterator[None]:
        """Paint on a sheet of its own, laid over the picture with ``paint`` (its transparency, its filter)."""
        self.canvas.saveLayer(skia.Rect(*bounds), paint)
        try:
            yield
        finally:
            self.canvas.restore()

    def _colour(self, colour: RGB, alpha: float, shines: bool) -> skia.Color4f:
        return skia.Color4f(*(colour if shines else self.light(colour)), alpha)

    def _codes(self, colours: Sequence[RGB], alphas: Sequence[float] | None, shines: bool) -> list[int]:
        alphas = [1.0] * len(colours) if alphas is None else alphas
        return [self._colour(c, a, shines).toColor() for c, a in zip(colours, alphas, strict=True)]
