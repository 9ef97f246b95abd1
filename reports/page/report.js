// Opens the page: what the address names at once, its frames when the stills are read too.

for (const button of document.querySelectorAll("button.copy")) mountCopy(button);
mountOverview();
mountKeys(mountApprovals());
mountNavigation();
addEventListener("DOMContentLoaded", () => {
  mountThumbnails();
  mountAnswers();
  mountViewers();
  mountTrials();
  mountBaselines();
  showFrame();
});
