/** A session resource on the server: what WHIP (RFC 9725 §4.2, §4.3) and WHEP let one do with it. */

import type { Answer } from './flow';
import { ConnectionError, HttpError, isGone, request } from './http';
import { parseLinks, type Link } from './link';
import { iceParameters, type IceParameters } from './sdpfrag';

const FRAGMENT = 'application/trickle-ice-sdpfrag';
/** A restart is tried again soon, so it may not hang on a network that is gone. */
const RESTART_TIMEOUT_MS = 3_000;

export class Resource {
  #etag: string | null;

  private constructor(
    /** Absolute address of the resource. */
    readonly url: string,
    /** The server's answer to our offer. */
    readonly answer: string,
    /** What the server offers beside it. */
    readonly links: Link[],
    etag: string | null,
    readonly token: string | undefined,
  ) {
    this.#etag = etag;
  }

  /** Sends the offer. Throws `HttpError` if it is refused. */
  static async create(
    endpoint: string,
    offer: string,
    token: string | undefined,
    signal: AbortSignal,
  ): Promise<Resource> {
    const response = await request('POST', endpoint, {
      token,
      headers: { 'Content-Type': 'application/sdp' },
      body: offer,
      signal,
    });
    const location = response.headers.get('Location');
    if (response.status !== 201 || location === null) {
      throw new ConnectionError('the server accepted the offer but named no session');
    }
    // Redirects were followed: addresses are relative to where the answer came from.
    return new Resource(
      new URL(location, response.url).href,
      await response.text(),
      parseLinks(response.headers.get('Link'), response.url),
      response.headers.get('ETag'),
      token,
    );
  }

  /** Sends candidates of the ICE session that the current entity tag stands for. */
  async trickle(fragment: string, signal: AbortSignal): Promise<void> {
    // Without an entity tag the server takes neither trickled candidates nor restarts.
    if (this.#etag === null) return;
    await request('PATCH', this.url, {
      token: this.token,
      headers: { 'Content-Type': FRAGMENT, 'If-Match': this.#etag },
      body: fragment,
      signal,
    });
  }

  /** Starts a new ICE session and returns the server's side of it. */
  async restart(fragment: string, signal: AbortSignal): Promise<IceParameters> {
    const response = await request('PATCH', this.url, {
      token: this.token,
      headers: { 'Content-Type': FRAGMENT, 'If-Match': '*' },
      body: fragment,
      signal,
      timeoutMs: RESTART_TIMEOUT_MS,
    });
    this.#etag = response.headers.get('ETag') ?? this.#etag;
    return iceParameters(await response.text());
  }

  /** Whether the server still has the session. */
  async ask(signal: AbortSignal): Promise<Answer> {
    try {
      await request('GET', this.url, { token: this.token, signal });
      return 'there';
    } catch (error) {
      if (isGone(error)) return 'gone';
      // Who is asked too often or shows an old token is told so by somebody who is there.
      return error instanceof HttpError && error.status < 500 ? 'there' : 'none';
    }
  }

  /** Ends the session on the server. That it is gone already is as good. */
  async delete(): Promise<void> {
    await request('DELETE', this.url, { token: this.token, keepalive: true }).catch(() => undefined);
  }
}
