/** Finding the page's own elements. A missing one is a mistake in index.html, so it throws. */

export function showTemplate(id: string): void {
  const template = element(id, HTMLTemplateElement);
  document.body.append(template.content.cloneNode(true));
}

export function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return found;
}

/** Replaces the options of a select and keeps the choice where it still exists. */
export function setOptions(select: HTMLSelectElement, options: { value: string; label: string }[]): void {
  const { value } = select;
  const isSame =
    options.length === select.options.length &&
    options.every((option, index) => {
      const present = select.options[index];
      return present?.value === option.value && present.text === option.label;
    });
  // An open menu closes when its options change, so leave it alone if they do not.
  if (isSame) return;
  select.replaceChildren(...options.map((option) => new Option(option.label, option.value)));
  if (options.some((option) => option.value === value)) select.value = value;
}
