// Copy buttons.

function selectText(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

/** Shows a word on a button for a while. */
function tell(button, word, sentence) {
  button.dataset.word ??= button.textContent;
  button.textContent = word;
  announce(sentence);
  clearTimeout(button.reset);
  button.reset = setTimeout(() => { button.textContent = button.dataset.word; }, 3000);
}

/** Copies the text beside a button. Where the clipboard is closed to the page, the text is selected instead. */
function mountCopy(button) {
  const text = button.closest(".copyable").querySelector(".copied");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      tell(button, "Copied", "Copied.");
    } catch {
      selectText(text);
      tell(button, "Selected", "Selected; copy it with Ctrl+C or ⌘C.");
    }
  });
  button.hidden = false;
}
