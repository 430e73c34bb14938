"use strict";
// Draws the views of a page when they come into sight. Browsers allow few WebGL contexts, so a few viewers are handed
// from figure to figure; a figure that gives its viewer away keeps a picture of what it showed.
(function () {
  const MOST = 8;
  const figures = Array.from(document.querySelectorAll("figure.view3d"));
  const pool = []; // of {viewer, box, figure, used}, the box is what moves
  let clock = 0;

  function bytes(text) {
    const raw = atob(text);
    const found = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) found[i] = raw.charCodeAt(i);
    return found.buffer;
  }

  function points(values, scale, origin) {
    const found = new Array(values.length / 3);
    for (let i = 0; i < found.length; i += 1) {
      found[i] = {
        x: origin[0] + scale * values[3 * i],
        y: origin[1] + scale * values[3 * i + 1],
        z: origin[2] + scale * values[3 * i + 2],
      };
    }
    return found;
  }

  // A mesh is told in integers: places on a fine grid, normals in steps of 1/127, colours as places in a palette.
  function addSurface(viewer, mesh) {
    const palette = mesh.palette.map((colour) => window.$3Dmol.CC.color(colour));
    const colours = Array.from(new Uint8Array(bytes(mesh.colours)), (place) => palette[place]);
    viewer.addCustom({
      vertexArr: points(new Uint16Array(bytes(mesh.vertices)), mesh.step, mesh.origin),
      normalArr: points(new Int8Array(bytes(mesh.normals)), 1 / 127, [0, 0, 0]),
      faceArr: Array.from(new Uint16Array(bytes(mesh.faces))),
      color: colours,
      opacity: mesh.opacity,
    });
  }

  function draw(viewer, data) {
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    viewer.addModel().addAtoms(data.atoms);
    data.styles.forEach((each) => viewer.setStyle({ elem: each.elem }, each.style));
    data.lines.forEach((line) => viewer.addCylinder(line));
    data.meshes.forEach((mesh) => addSurface(viewer, mesh));
    data.spheres.forEach((sphere) => viewer.addSphere(sphere));
    data.labels.forEach((label) => viewer.addLabel(label.text, label.style));
    viewer.resize();
    viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]);
    viewer.zoomTo();
    viewer.setView([0, 0, 0, viewer.getView()[3], 0, 0, 0, 1]);
    fit(viewer, data.extent);
    viewer.render();
  }

  // Half the width and half the height of what is there [Angstrom] fill the view but for a margin.
  function fit(viewer, extent) {
    viewer.render();
    const [middle, corner] = viewer.modelToScreen([{ x: 0, y: 0, z: 0 }, { x: 1, y: 1, z: 0 }]);
    const box = viewer.getCanvas().getBoundingClientRect();
    const across = Math.abs(corner.x - middle.x) * extent[0] / (box.width / 2);
    const up = Math.abs(corner.y - middle.y) * extent[1] / (box.height / 2);
    const factor = 0.9 / Math.max(across, up);
    if (Number.isFinite(factor) && factor > 0) viewer.zoom(factor);
  }

  function release(entry) {
    const stage = entry.figure.querySelector(".stage");
    const still = document.createElement("img");
    still.src = entry.viewer.pngURI();
    still.alt = "";
    still.className = "still";
    stage.querySelectorAll("img.still").forEach((old) => old.remove());
    stage.append(still);
    entry.figure.dataset.view = "still";
    entry.figure.savedView = entry.viewer.getView();
    entry.box.remove();
    entry.figure = null;
  }

  function take() {
    const free = pool.find((entry) => !entry.figure);
    if (free) return free;
    if (pool.length < MOST) {
      const box = document.createElement("div");
      box.className = "viewer";
      const entry = { viewer: null, box: box, figure: null, used: 0 };
      pool.push(entry);
      return entry;
    }
    const hidden = pool.filter((entry) => !entry.figure.inSight);
    const oldest = (hidden.length ? hidden : pool).reduce((a, b) => (a.used < b.used ? a : b));
    release(oldest);
    return oldest;
  }

  function fail(figure, error) {
    figure.dataset.view = "failed";
    figure.querySelector(".fallback").hidden = false;
    document.body.dataset.view = "failed";
    console.warn(String(error));
  }

  function hasWebGL() {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
    const loser = context && context.getExtension("WEBGL_lose_context");
    if (loser) loser.loseContext();
    return Boolean(context);
  }

  function show(figure) {
    if (figure.dataset.view === "drawn" || figure.dataset.view === "failed") return;
    if (!able) { fail(figure, "no WebGL"); return; }
    const stage = figure.querySelector(".stage");
    const entry = take();
    try {
      stage.append(entry.box);
      if (!entry.viewer) {
        entry.viewer = window.$3Dmol.createViewer(entry.box, {
          backgroundColor: "white", orthographic: true, disableFog: true, antialias: true,
        });
        if (!entry.viewer) throw new Error("no WebGL");
      }
      draw(entry.viewer, JSON.parse(figure.querySelector("script.data").textContent));
      if (figure.savedView) { entry.viewer.setView(figure.savedView); entry.viewer.render(); }
      entry.figure = figure;
      entry.used = clock += 1;
      stage.querySelectorAll("img").forEach((image) => { image.hidden = true; });
      figure.dataset.view = "drawn";
      if (document.body.dataset.view !== "failed") document.body.dataset.view = "drawn";
    } catch (error) {
      entry.box.remove();
      if (!entry.viewer) pool.splice(pool.indexOf(entry), 1);
      fail(figure, error);
    }
  }

  function keepStills() {
    pool.filter((entry) => entry.figure).forEach(release);
  }

  const able = figures.length > 0 && hasWebGL();
  if (!figures.length) { document.body.dataset.view = "none"; return; }
  window.addEventListener("beforeprint", keepStills);
  window.addEventListener("afterprint", () => figures.filter((figure) => figure.inSight).forEach(show));
  const watch = new IntersectionObserver((entries) => {
    entries.forEach((entry) => {
      entry.target.inSight = entry.isIntersecting;
      if (entry.isIntersecting) show(entry.target);
    });
  }, { rootMargin: "120px" });
  figures.forEach((figure) => {
    watch.observe(figure);
    // More views than viewers in sight at once: one that is only a picture wakes when a pointer comes.
    figure.querySelector(".stage").addEventListener("pointerenter", () => show(figure));
  });
})();
