// What lasts as long as the tab does, if the browser allows it: pages opened from disk may have no store.

function recall(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name));
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    sessionStorage.setItem(name, JSON.stringify(value));
  } catch {
    // it lasts until the page is closed
  }
}
