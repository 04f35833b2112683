/** Watching a room. */

import { watch, type Layer, type LayerChoice, type Watching } from '../client';
import { AccessForm, isRefused } from './access';
import { element, setOptions } from './dom';
import type { Route } from './route';
import * as words from './words';

const AUTOMATIC = { value: 'auto', label: 'Auto' };

export function watchPage({ namespace, room }: Route, token: string | undefined): void {
  const video = element('program', HTMLVideoElement);
  const status = element('status', HTMLElement);
  const layer = element('layer', HTMLSelectElement);
  const access = new AccessForm((entered) => {
    watching = begin(entered);
  });
  let watching = begin(token);

  function begin(token: string | undefined): Watching {
    const watching = watch(`/whep/${namespace}/${room}`, video, { token });
    let paused = '';
    const show = () => {
      status.textContent = words.watchStatus(watching.state) || paused;
    };
    show();
    watching.on('state', (state) => {
      document.body.dataset['state'] = state;
      // Another connection begins with a picture, until it is said otherwise.
      if (state !== 'live') paused = '';
      show();
      element('badge', HTMLElement).hidden = state !== 'live';
    });
    watching.on('error', (error) => {
      // While it waits for the host, a refusal is what one expects.
      queueMicrotask(() => {
        if (watching.state !== 'waiting' && watching.state !== 'live') status.textContent = words.serverProblem(error);
        if (watching.state === 'failed' && isRefused(error)) access.show();
      });
    });
    watching.on('adaptation', (adaptation) => {
      paused = words.adaptationStatus(adaptation);
      show();
    });
    watching.on('viewers', (count) => {
      element('viewers', HTMLElement).textContent = words.viewers(count);
    });
    watching.on('layers', (layers) => setOptions(layer, [AUTOMATIC, ...layerOptions(layers)]));
    return watching;
  }

  setOptions(layer, [AUTOMATIC]);
  layer.addEventListener('change', () => {
    const chosen = layer.value === AUTOMATIC.value ? undefined : (JSON.parse(layer.value) as LayerChoice);
    watching.chooseLayer(chosen).catch(() => {
      layer.value = AUTOMATIC.value;
    });
  });

  soundButton(video, element('sound', HTMLButtonElement));
  fullscreenButton(element('fullscreen', HTMLButtonElement));
}

/** Largest first. Those that are not sent now, because nobody watches them, come back when they are picked. */
function layerOptions(layers: Layer[]): { value: string; label: string }[] {
  return [...layers]
    .sort((a, b) => (b.height ?? 0) - (a.height ?? 0))
    .map((each) => ({ value: layerValue(each), label: words.layerLabel(each) }));
}

function layerValue({ rid, spatialLayerId }: Layer): string {
  return JSON.stringify({ rid, spatialLayerId });
}

function soundButton(video: HTMLVideoElement, button: HTMLButtonElement): void {
  button.addEventListener('click', () => {
    video.muted = !video.muted;
  });
  video.addEventListener('volumechange', () => {
    button.textContent = video.muted ? 'Unmute' : 'Mute';
    button.setAttribute('aria-pressed', String(!video.muted));
  });
}

function fullscreenButton(button: HTMLButtonElement): void {
  button.hidden = !document.fullscreenEnabled;
  button.addEventListener('click', () => {
    const change = document.fullscreenElement
      ? document.exitFullscreen()
      : document.documentElement.requestFullscreen();
    // A browser may say no, and then the page stays as it is.
    change.catch(() => undefined);
  });
  document.addEventListener('fullscreenchange', () => {
    button.textContent = document.fullscreenElement ? 'Leave full screen' : 'Full screen';
  });
}
