() => {
  // Live regions must exist before their text changes; names are added to what gradio labels alike on every component.
  document.documentElement.lang = 'en';
  const name = () => {
    for (const part of document.querySelectorAll('.live')) {
      part.setAttribute('aria-live', 'polite');
      part.setAttribute('role', 'status');
    }
    for (const [id, label] of [['before', 'Before'], ['after', 'After'], ['photos', 'Photos'], ['import', 'Import']]) {
      const block = document.getElementById(id);
      for (const part of block ? block.querySelectorAll('button, input[type=file]') : []) {
        const own = part.getAttribute('aria-label') || part.title || part.textContent.trim() || 'choose a file';
        if (!own.startsWith(label + ':')) part.setAttribute('aria-label', label + ': ' + own);
      }
    }
  };
  name();
  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    setTimeout(() => { due = false; name(); }, 300);
  }).observe(document.body, {childList: true, subtree: true});
}
