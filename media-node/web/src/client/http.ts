/** One HTTP request of the protocol: bearer token, time limit, and errors that say what is wrong. */

import { retryAfterMs } from './backoff';

const TIMEOUT_MS = 10_000;

/** The server answered, and the answer was no. */
export class HttpError extends Error {
  override readonly name = 'HttpError';

  constructor(
    readonly status: number,
    message: string,
    /** What Retry-After asked for, in milliseconds. */
    readonly retryAfterMs: number | undefined,
  ) {
    super(message);
  }
}

/** The media connection could not be made although the server agreed to it. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
}

export interface RequestOptions {
  token?: string | undefined;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal;
  /** Milliseconds until the request fails; 0 for a response body that streams on. */
  timeoutMs?: number;
  /** Lets the request outlive the page. */
  keepalive?: boolean;
}

/** Sends a request. Throws `HttpError` unless the status is 2xx. */
export async function request(
  method: string,
  url: string,
  { token, headers = {}, body, signal, timeoutMs = TIMEOUT_MS, keepalive }: RequestOptions = {},
): Promise<Response> {
  const signals = [signal, timeoutMs > 0 ? AbortSignal.timeout(timeoutMs) : undefined];
  const response = await fetch(url, {
    method,
    headers: token === undefined ? headers : { ...headers, Authorization: `Bearer ${token}` },
    body: body ?? null,
    signal: AbortSignal.any(signals.filter((each) => each !== undefined)),
    keepalive: keepalive ?? false,
  });
  if (response.ok) return response;
  throw new HttpError(
    response.status,
    await problem(response),
    retryAfterMs(response.headers.get('Retry-After')),
  );
}

/** Whether the same request may well succeed later. */
export function isTemporary(error: unknown): boolean {
  if (error instanceof HttpError) {
    return error.status >= 500 || [408, 409, 425, 429].includes(error.status);
  }
  // `fetch` reports an unreachable server as a TypeError, our time limit as a TimeoutError.
  return (
    error instanceof TypeError ||
    error instanceof ConnectionError ||
    (error instanceof DOMException && error.name === 'TimeoutError')
  );
}

/** Whether the server says that this resource is gone for good. */
export function isGone(error: unknown): boolean {
  return error instanceof HttpError && (error.status === 404 || error.status === 410);
}

/** A sentence from a problem document (RFC 9457), or the status if there is none. */
async function problem(response: Response): Promise<string> {
  const fallback = `the server answered ${response.status} ${response.statusText}`.trim();
  if (!response.headers.get('Content-Type')?.includes('json')) return fallback;
  try {
    const { detail, title } = (await response.json()) as { detail?: unknown; title?: unknown };
    return [detail, title].find((text) => typeof text === 'string' && text !== '')?.toString() ?? fallback;
  } catch {
    return fallback;
  }
}
