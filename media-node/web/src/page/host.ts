/** Going live in a room. */

import { publish, type Publication, type PublishStats, type VideoCodec } from '../client';
import { AccessForm, isRefused } from './access';
import * as devices from './devices';
import { element, setOptions } from './dom';
import type { Route } from './route';
import * as words from './words';

const READOUT_MS = 2_000;

export function hostPage(route: Route, token: string | undefined): void {
  new HostPage(route, token).start();
}

class HostPage {
  readonly #preview = element('preview', HTMLVideoElement);
  readonly #status = element('status', HTMLElement);
  readonly #problem = element('problem', HTMLElement);
  readonly #camera = element('camera', HTMLSelectElement);
  readonly #microphone = element('microphone', HTMLSelectElement);
  readonly #size = element('size', HTMLSelectElement);
  readonly #codec = element('codec', HTMLSelectElement);
  readonly #go = element('go', HTMLButtonElement);
  readonly #endpoint: string;
  readonly #access: AccessForm;
  #token: string | undefined;
  #stream: MediaStream | undefined;
  #publication: Publication | undefined;

  constructor({ namespace, room }: Route, token: string | undefined) {
    this.#endpoint = `/whip/${namespace}/${room}`;
    this.#token = token;
    this.#access = new AccessForm((entered) => {
      this.#token = entered;
      this.#goLive();
    });
    const link = element('link', HTMLAnchorElement);
    link.href = `/rooms/${namespace}/${room}`;
    link.textContent = link.href;
  }

  start(): void {
    const recapture = () => void this.#capture();
    for (const select of [this.#camera, this.#microphone, this.#size]) {
      select.addEventListener('change', recapture);
    }
    element('controls', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.#publication) this.#publication.stop();
      else this.#goLive();
    });
    setInterval(() => void this.#readOut(), READOUT_MS);
    recapture();
  }

  /** Opens the chosen devices, shows them, and puts them on air if we are. */
  async #capture(): Promise<void> {
    // Some cameras open only once, so the old one is let go first.
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    try {
      const stream = await devices.capture({
        camera: this.#camera.value,
        microphone: this.#microphone.value,
        size: this.#size.value,
      });
      this.#stream = stream;
      this.#preview.srcObject = stream;
      for (const track of stream.getTracks()) {
        await this.#publication?.replaceTrack(track);
        track.addEventListener('ended', () => {
          this.#report(`The ${track.kind === 'video' ? 'camera' : 'microphone'} was disconnected. Choose another one.`);
        });
      }
      this.#report(undefined);
      this.#go.disabled = false;
      setOptions(this.#camera, await devices.list('videoinput'));
      setOptions(this.#microphone, await devices.list('audioinput'));
    } catch (error) {
      this.#report(words.deviceProblem(error as Error));
      this.#go.disabled = this.#publication === undefined;
    }
  }

  #goLive(): void {
    if (!this.#stream || this.#publication) return;
    this.#access.hide();
    const publication = publish(this.#endpoint, this.#stream, {
      token: this.#token,
      codec: this.#codec.value === '' ? undefined : (this.#codec.value as VideoCodec),
    });
    this.#publication = publication;
    this.#show(publication);
    publication.on('state', () => this.#show(publication));
    publication.on('error', (error) => {
      queueMicrotask(() => {
        if (publication.state !== 'occupied') this.#report(words.serverProblem(error));
        if (publication.state === 'failed' && isRefused(error)) this.#access.show();
      });
    });
  }

  #show(publication: Publication): void {
    const { state } = publication;
    const isOver = state === 'stopped' || state === 'failed';
    if (isOver) this.#publication = undefined;
    if (state === 'live') this.#report(undefined);
    document.body.dataset['state'] = state;
    this.#status.textContent = words.publishStatus(state);
    this.#go.textContent = isOver ? 'Go live' : 'Stop';
    this.#go.classList.toggle('stop', !isOver);
    // Layers and format are agreed on when going live.
    this.#size.disabled = !isOver;
    this.#codec.disabled = !isOver;
    element('badge', HTMLElement).hidden = state !== 'live';
    if (isOver) this.#showStats(undefined);
  }

  async #readOut(): Promise<void> {
    const publication = this.#publication;
    const stats = await publication?.stats();
    if (publication && publication === this.#publication) this.#showStats(stats);
  }

  #showStats(stats: PublishStats | undefined): void {
    const table = element('layers', HTMLTableElement);
    element('summary', HTMLElement).textContent = stats
      ? words.uploadReadout(stats)
      : 'Nothing is sent before you go live.';
    table.hidden = !stats || stats.layers.length === 0;
    const rows = stats?.layers.map((layer) => {
      const row = document.createElement('tr');
      for (const text of words.layerRow(layer)) row.insertCell().textContent = text;
      return row;
    });
    table.tBodies[0]?.replaceChildren(...(rows ?? []));
  }

  #report(problem: string | undefined): void {
    this.#problem.textContent = problem ?? '';
    this.#problem.hidden = problem === undefined;
  }
}
