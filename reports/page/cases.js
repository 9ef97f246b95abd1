// All cases are in the page, the stills are not yet.
dispatchEvent(new Event("cases"));
