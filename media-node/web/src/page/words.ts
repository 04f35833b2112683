/** Everything that the page says, in words for people who have never heard of WebRTC. */

import { ConnectionError, HttpError } from '../client/http';
import type { Adaptation } from '../client/events';
import type { Layer } from '../client/layers';
import type { PublishState } from '../client/publish';
import type { PublishStats, SentLayer } from '../client/stats';
import type { WatchState } from '../client/watch';

/** Over the picture; empty while there is nothing to say. */
export function watchStatus(state: WatchState): string {
  switch (state) {
    case 'connecting':
      return 'Connecting…';
    case 'waiting':
      return 'Waiting for the host…';
    case 'live':
      return '';
    case 'reconnecting':
      return 'Reconnecting…';
    case 'stopped':
      return 'Stopped.';
    case 'failed':
      return 'This room cannot be watched.';
  }
}

export function publishStatus(state: PublishState): string {
  switch (state) {
    case 'connecting':
      return 'Connecting…';
    case 'occupied':
      return 'Another host is on air in this room. You go live as soon as they stop.';
    case 'live':
      return '';
    case 'reconnecting':
      return 'Connection lost. Reconnecting…';
    case 'stopped':
    case 'failed':
      return 'You are off air.';
  }
}

/** What went wrong with the server, and what to do about it. */
export function serverProblem(error: Error): string {
  if (error instanceof HttpError) {
    if (error.status === 401 || error.status === 403) {
      return 'The server does not let you in. Ask for a new link: yours may be incomplete or out of date. If you have a token, enter it here.';
    }
    if (error.status === 404) return 'There is no show here: it may be over, or the link may be wrong.';
    if (error.status === 503) return `The server is busy: ${error.message}. Trying again.`;
    return `The server refused: ${error.message}.`;
  }
  if (error instanceof ConnectionError) {
    return 'The server answers, but video does not get through. Try another network, or ask whether a firewall blocks it.';
  }
  if (error instanceof TypeError || error.name === 'TimeoutError') {
    return 'The server cannot be reached. Check your network; this page keeps trying.';
  }
  return `This browser could not set up the connection: ${error.message}`;
}

/** What went wrong with the camera or microphone, and what to do about it. */
export function deviceProblem(error: Error): string {
  switch (error.name) {
    case 'NotAllowedError':
      return 'The camera and microphone are blocked. Allow them for this page in the address bar, then reload.';
    case 'NotFoundError':
      return 'No camera or microphone was found. Connect one, then choose it here.';
    case 'NotReadableError':
      return 'The camera or microphone is in use by another program. Close that program, then choose the device again.';
    case 'InsecureContextError':
      return 'Browsers give out the camera only to secure pages. Open this page by https://, or on the machine itself by http://localhost.';
    default:
      return `The camera or microphone could not be opened: ${error.message}`;
  }
}

/** `720p (1280×720)`; layers without simulcast have no name, and unknown sizes are left out. */
export function layerLabel({ rid, width, height }: Pick<Layer, 'rid' | 'width' | 'height'>): string {
  if (width === undefined || height === undefined) return rid === '' ? 'Original' : rid;
  return `${Math.min(width, height)}p (${width}×${height})`;
}

export function viewers(count: number): string {
  return count === 1 ? '1 watching' : `${count} watching`;
}

export function bitrate(bitsPerSecond: number): string {
  if (bitsPerSecond >= 1_000_000) return `${(bitsPerSecond / 1_000_000).toFixed(1)} Mbit/s`;
  return `${Math.round(bitsPerSecond / 1_000)} kbit/s`;
}

/** How well sending goes: what the upload carries, what is sent, and why it is not more. */
export function uploadReadout(stats: PublishStats): string {
  const sent = stats.layers.filter((layer) => !layer.isUnwanted && layer.bitrate > 0);
  const top = sent.at(-1);
  if (!top) return 'Starting…';
  const isLimited = stats.limitedBy === 'network';
  const sending = `ending ${lines(top)} at ${Math.round(top.framesPerSecond)} frames a second.`;
  // Unless it holds the picture back, the network was only tried as far as the picture needs.
  const carries = `Your upload carries ${isLimited ? '' : 'at least '}${bitrate(stats.availableBitrate ?? 0)}; s${sending}`;
  const upload = stats.availableBitrate === undefined ? `S${sending} What your upload carries is not known yet.` : carries;
  return [upload, hindrance(stats, sent), unwanted(stats.layers)].filter((text) => text !== '').join(' ');
}

function hindrance({ limitedBy }: PublishStats, sent: SentLayer[]): string {
  if (limitedBy === 'network') return 'That is too little for a better picture; a cable or a place nearer to the Wi-Fi helps.';
  if (limitedBy === 'processor') return 'This device is too busy for a better picture; closing other programs helps.';
  const lossiest = Math.max(...sent.map((layer) => layer.loss));
  if (lossiest > 0.03) return 'Your network loses packets; a cable or a place nearer to the Wi-Fi helps.';
  return '';
}

function unwanted(layers: SentLayer[]): string {
  const names = layers.filter((layer) => layer.isUnwanted).map(lines);
  if (names.length === 0) return '';
  const [verb, whom] = names.length === 1 ? ['is', 'it'] : ['are', 'them'];
  return `${names.join(' and ')} ${verb} off: nobody watches ${whom} now.`;
}

function lines({ width, height }: { width: number; height: number }): string {
  return `${Math.min(width, height)}p`;
}

/** Over the viewer's picture, when there is none; empty if there is, or if it is the viewer who wants none. */
export function adaptationStatus({ state, reason }: Pick<Adaptation, 'state' | 'reason'>): string {
  return state === 'paused' && reason === 'network'
    ? 'Your network is too slow for the picture; the sound goes on.'
    : '';
}

const LAYER_NAMES: Record<string, string> = { '': 'Only', q: 'Quarter', h: 'Half', f: 'Full' };

/** The cells of a layer's row. */
export function layerRow(layer: SentLayer): string[] {
  if (layer.isUnwanted) return [LAYER_NAMES[layer.rid] ?? layer.rid, `${layer.width}×${layer.height}`, 'off', '–', '–'];
  return [
    LAYER_NAMES[layer.rid] ?? layer.rid,
    `${layer.width}×${layer.height}, ${Math.round(layer.framesPerSecond)}/s`,
    bitrate(layer.bitrate),
    `${(layer.loss * 100).toFixed(1)} %`,
    layer.roundTripMs === undefined ? '–' : `${Math.round(layer.roundTripMs)} ms`,
  ];
}
