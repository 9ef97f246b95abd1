// Opens the page.

document.documentElement.classList.add("has-script");
for (const button of document.querySelectorAll("button.copy")) mountCopy(button);
mountViewers();
mountNavigation(mountOverview(), mountApprovals());
