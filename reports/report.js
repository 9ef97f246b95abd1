// Opens the page.

for (const button of document.querySelectorAll("button.copy")) mountCopy(button);
mountViewers();
