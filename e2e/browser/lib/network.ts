/** A network that can be cut: the node lives in a namespace at the other end of a cable. */

import { execFileSync } from 'node:child_process';

const NAMESPACE = 'showrunner-e2e';
const CABLE = 'srtest0';
const FAR_END = 'srtest1';
const NETWORK = '10.213.77.0/24';
const NODE_IP = '10.213.77.1';
const OUR_IPS = ['10.213.77.2', '10.213.77.3'] as const;

export class Cable {
  readonly namespace = NAMESPACE;
  readonly nodeIp = NODE_IP;

  private constructor() {}

  /** Lays the cable, or says why it can't: that takes root and the `ip` program. */
  static lay(): Cable | string {
    if (process.getuid?.() !== 0) return 'cutting the network takes root';
    const cable = new Cable();
    try {
      // What an interrupted run left behind.
      cable.remove();
      ip('netns', 'add', NAMESPACE);
      ip('link', 'add', CABLE, 'type', 'veth', 'peer', 'name', FAR_END, 'netns', NAMESPACE);
      ip('-n', NAMESPACE, 'addr', 'add', `${NODE_IP}/24`, 'dev', FAR_END);
      ip('-n', NAMESPACE, 'link', 'set', 'lo', 'up');
      ip('-n', NAMESPACE, 'link', 'set', FAR_END, 'up');
      // While the cable is cut, nothing may leave by this machine's other networks instead.
      ip('route', 'add', 'unreachable', NETWORK, 'metric', '4096');
      ip('addr', 'add', `${OUR_IPS[0]}/24`, 'dev', CABLE);
      cable.plug();
      return cable;
    } catch (error) {
      return `no network namespace can be made here: ${(error as Error).message}`;
    }
  }

  plug(): void {
    ip('link', 'set', CABLE, 'up');
  }

  cut(): void {
    ip('link', 'set', CABLE, 'down');
  }

  /** Gives our end another address, as a phone gets that leaves its Wi-Fi. */
  changeAddress(): void {
    // In this order: the second address of a network goes away with its first.
    ip('addr', 'del', `${OUR_IPS[0]}/24`, 'dev', CABLE);
    ip('addr', 'add', `${OUR_IPS[1]}/24`, 'dev', CABLE);
  }

  remove(): void {
    // The namespace takes its end of the cable with it, and a cable has two ends or none.
    if (ip('netns', 'list').split(/\s+/).includes(NAMESPACE)) ip('netns', 'del', NAMESPACE);
    if (ip('route', 'show', 'type', 'unreachable').includes(NETWORK)) ip('route', 'del', 'unreachable', NETWORK);
    if (ip('link', 'show', 'type', 'veth').includes(`${CABLE}@`)) ip('link', 'del', CABLE);
  }
}

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
