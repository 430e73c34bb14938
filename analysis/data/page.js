"use strict";
// Marks the places of the site whose button is pressed, or whose id is the fragment of the address.
(function () {
  const sites = JSON.parse(document.getElementById("sites-data").textContent);
  const buttons = Array.from(document.querySelectorAll("button[data-site]"));
  const viewer = window.viewer_host || null;
  let shapes = [];
  let labels = [];

  function unmark() {
    shapes.forEach((shape) => viewer.removeShape(shape));
    labels.forEach((label) => viewer.removeLabel(label));
    shapes = [];
    labels = [];
  }

  function mark(site) {
    site.members.forEach((member, number) => {
      shapes.push(viewer.addSphere({ center: member.at, radius: 0.45, color: site.colour }));
      if (number > 0) {
        labels.push(viewer.addLabel(member.id, Object.assign({}, site.label_style, { position: member.at, fontSize: 11 })));
      }
    });
  }

  function select(chosen) {
    buttons.forEach((button, number) => {
      button.setAttribute("aria-pressed", String(number === chosen));
      button.closest("tr").classList.toggle("selected", number === chosen);
    });
    if (viewer) {
      unmark();
      if (chosen >= 0) mark(sites[chosen]);
      viewer.render();
    }
  }

  buttons.forEach((button, number) => {
    button.addEventListener("click", () => select(button.getAttribute("aria-pressed") === "true" ? -1 : number));
  });
  function selectFromAddress() {
    let wanted = "";
    try { wanted = decodeURIComponent(window.location.hash.slice(1)); } catch (error) { return; }
    const chosen = sites.findIndex((site) => site.id === wanted);
    if (chosen >= 0) select(chosen);
  }
  window.addEventListener("hashchange", selectFromAddress);
  selectFromAddress();
})();
