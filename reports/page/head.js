// Runs before anything is painted: scripts work, and the address may name one case.
document.documentElement.classList.add("has-script");
document.documentElement.dataset.page = location.hash.startsWith("#case-") || "alone" in document.documentElement.dataset ? "case" : "cases";
