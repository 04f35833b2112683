/** Asking for a token: whoever came by a link without one, or with one that no longer does, may paste another. */

import { HttpError } from '../client';
import { element } from './dom';
import { tokenOf } from './route';

/** Whether it takes another token to get in. */
export function isRefused(error: Error): boolean {
  return error instanceof HttpError && (error.status === 401 || error.status === 403);
}

export class AccessForm {
  readonly #form = element('access', HTMLFormElement);
  readonly #input = element('token', HTMLInputElement);

  /** Calls `enter` with every token that somebody enters. */
  constructor(enter: (token: string) => void) {
    this.#input.addEventListener('input', () => {
      this.#input.setCustomValidity('');
    });
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      const token = tokenOf(this.#input.value);
      if (token === undefined) {
        this.#input.setCustomValidity('This is neither a token nor a link with one: copy all of it.');
        this.#input.reportValidity();
        return;
      }
      this.hide();
      enter(token);
    });
  }

  show(): void {
    this.#form.hidden = false;
    this.#input.focus();
  }

  hide(): void {
    this.#form.hidden = true;
    this.#input.value = '';
  }
}
