/** When a session needs a successor: it was told to move, fell silent, or is over. */

import type { Session } from './session';

export interface Occasion {
  /** `lost` may turn out to have been none: see `isDue`. */
  why: 'told' | 'lost' | 'over';
  /** Where to go, if the server said so. */
  endpoint: string | undefined;
}

export class Due {
  #occasion: Occasion | undefined;
  #waiting: ((occasion: Occasion) => void)[] = [];

  constructor(session: Session) {
    const over = () => this.#set({ why: 'over', endpoint: undefined });
    if (session.over.aborted) over();
    else session.over.addEventListener('abort', over, { once: true });
    session.flow.on('lost', () => this.#set({ why: 'lost', endpoint: undefined }));
    session.flow.on('back', () => {
      if (this.#occasion?.why === 'lost') this.#occasion = undefined;
    });
  }

  /** The server said to move. */
  tell(endpoint: string | undefined): void {
    this.#set({ why: 'told', endpoint });
  }

  /** Whether a successor is still needed. */
  get isDue(): boolean {
    return this.#occasion !== undefined;
  }

  /** Resolves when a successor is due. */
  occasion(): Promise<Occasion> {
    const known = this.#occasion;
    return known ? Promise.resolve(known) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  #set(occasion: Occasion): void {
    // What is over stays over, and who was told to move need not be told why it is silent.
    if (this.#occasion?.why === 'over' || (this.#occasion?.why === 'told' && occasion.why === 'lost')) return;
    this.#occasion = occasion;
    for (const resolve of this.#waiting.splice(0)) resolve(occasion);
  }
}
