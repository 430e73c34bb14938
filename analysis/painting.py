"""A picture made of pixels that lies on axes: scaled once for each size, and handed to the renderer as it is."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from numpy.typing import NDArray
from PIL import Image


class Painting(Artist):
    """An image that fills its axes.

    It does what `Axes.imshow` does for colours with opacity, without going through masked arrays of floats, which takes
    seconds for a large image, and once for PNG and SVG together.

    Parameters
    ----------
    image
        Red, green, blue and opacity, the upper row first, shape=(height, width, 4).
    opacity
        What opacities are multiplied by.
    """

    def __init__(self, image: NDArray[np.uint8], opacity: float) -> None:
        super().__init__()
        self.pixels = image
        self._opacity = opacity
        self._scaled = np.empty((0, 0, 4), dtype=np.uint8)

    def draw(self, renderer: RendererBase) -> None:
        """Draw it in as many pixels as the axes have, those of the file where that is finer than the figure."""
        if not self.get_visible() or self.axes is None:
            return
        magnification = renderer.get_image_magnification()
        box = self.axes.get_window_extent(renderer)
        width, height = (max(round(length * magnification), 1) for length in (box.width, box.height))
        if self._scaled.shape[:2] != (height, width):
            whole = Image.fromarray(self.pixels)
            self._scaled = np.array(whole.resize((width, height), Image.Resampling.HAMMING))
            self._scaled[..., 3] = np.round(self._scaled[..., 3] * self._opacity)
        graphics = renderer.new_gc()
        x, y = (round(place * magnification) / magnification for place in (box.x0, box.y0))  # whole pixels
        renderer.draw_image(graphics, x, y, self._scaled[::-1])
        graphics.restore()
