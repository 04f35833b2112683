/** Runs a real media node for the tests. */

import { binary, freePort, Program, ROOT, saysReady } from './program.ts';

export interface NodeOptions {
  /** Address that HTTP and media listen on. */
  ip?: string;
  /** Network namespace to run in; by default the one of the tests. */
  namespace?: string;
  args?: string[];
}

export class MediaNode extends Program {
  private constructor(
    /** Address of its HTTP server, without a slash at the end. */
    readonly url: string,
    /** UDP port of its media. */
    readonly mediaPort: number,
    command: string[],
  ) {
    super(command, () => saysReady(url));
  }

  /** Starts a node and waits until it is ready. */
  static async start({ ip = '127.0.0.1', namespace, args = [] }: NodeOptions = {}): Promise<MediaNode> {
    // Ports of another namespace can't be tried from here, but there all of them are free.
    const http = namespace ? 8080 : await freePort(ip);
    const media = namespace ? 7000 : await freePort(ip);
    const node = new MediaNode(`http://${ip}:${http}`, media, [
      ...(namespace ? ['ip', 'netns', 'exec', namespace] : []),
      binary('media-node'),
      ...['--http', `${ip}:${http}`],
      ...['--media-bind', ip],
      ...['--media-port', String(media)],
      // Neighbouring ports need not be free.
      ...['--shards', '1'],
      ...['--web-dir', `${ROOT}media-node/web/dist`],
      ...args,
    ]);
    await node.start();
    return node;
  }

  /** `GET /v1/status`. */
  async status(): Promise<unknown> {
    return (await fetch(`${this.url}/v1/status`)).json();
  }
}
