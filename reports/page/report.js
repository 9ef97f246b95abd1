// Opens the page: the overview at once, the viewers when the stills are read too.

document.documentElement.classList.add("has-script");
for (const button of document.querySelectorAll("button.copy")) mountCopy(button);
const filter = mountOverview();
mountNavigation(filter, mountApprovals());
addEventListener("DOMContentLoaded", () => {
  mountViewers();
  followLink(filter);
});
