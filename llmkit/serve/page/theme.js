// Runs before the first paint, so that the page does not flash in the other theme.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* storage is switched off: the page follows the system's theme */ }
