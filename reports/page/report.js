// Opens the page: the overview at once, what the address names when the cases are read, frames when the stills are too.

mountOverview();
addEventListener("cases", () => {
  for (const button of document.querySelectorAll("button.copy")) mountCopy(button);
  mountParts();
  mountKeys(mountApprovals());
  mountNavigation();
});
addEventListener("DOMContentLoaded", () => {
  mountThumbnails();
  mountAnswers();
  mountViewers();
  mountTrials();
  mountBaselines();
  showFrame();
});
