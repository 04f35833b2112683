/** Server-sent events over `fetch`: `EventSource` cannot send a bearer token. */

export interface ServerEvent {
  type: string;
  data: string;
}

/** More than this without a line's end is not an event stream, in characters. */
const MAX_LINE = 256 * 1024;

/** Splits an event stream into events; feed it text as it arrives. */
export class EventParser {
  #rest = '';
  #type = '';
  #data: string[] = [];

  push(text: string): ServerEvent[] {
    const buffered = this.#rest + text;
    // A trailing CR may be half of a CR LF, so it waits for what follows.
    const lines = buffered.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > MAX_LINE) throw new Error('the event stream has a line without end');
    return lines.flatMap((line) => this.#line(line) ?? []);
  }

  #line(line: string): ServerEvent | undefined {
    if (line === '') return this.#dispatch();
    const [, field = '', value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data.push(value);
    return undefined;
  }

  #dispatch(): ServerEvent | undefined {
    const event = { type: this.#type || 'message', data: this.#data.join('\n') };
    const isEmpty = this.#data.length === 0;
    this.#type = '';
    this.#data = [];
    return isEmpty ? undefined : event;
  }
}

/**
 * The events of a response body, until it ends. Servers send comments to keep a quiet stream
 * alive; after `idleMs` without a byte it counts as dead and this throws.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  idleMs: number,
): AsyncGenerator<ServerEvent, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const chunk = await within(reader.read(), idleMs);
      if (chunk.done) return;
      yield* parser.push(decoder.decode(chunk.value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the event stream fell silent')), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
