/**
 * A cluster in small: media nodes as its pods are, the gateway before them, and as much of an API server as the gateway
 * watches. The test is the operator: it tells the nodes of the room and the API server of all.
 */

import { execFileSync } from 'node:child_process';
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { binary, freePort, Program, ROOT, saysReady } from './program.ts';

const IP = '127.0.0.1';
const SECRET = 'a secret of this test, 32 bytes+';
const UID = 'u-1';
/** The name in the certificate of every pod. */
const POD_NAME = 'media-pod.showrunner.internal';

export interface Room {
  namespace: string;
  name: string;
  /** Who may watch. */
  watch: 'Token' | 'Anyone';
}

/** What a pod is told of the room, beside which room it is. */
export interface Part {
  /** Later orders have larger ones. */
  revision?: number;
  /** Its clients are to go on; in seconds until those who don't are cut off. */
  leave?: number;
  /** A host is on the way. */
  awaitsHost?: boolean;
}

/** A media node as a pod runs it. */
class Pod {
  program!: Program;
  readonly name: string;

  constructor(
    readonly index: number,
    readonly port: number,
  ) {
    this.name = `site-${index}`;
  }
}

export class Cluster {
  readonly #directory = mkdtempSync(join(tmpdir(), 'showrunner-'));
  readonly #key = generateKeyPairSync('ed25519');
  #api: Server | undefined;
  #apiPort = 0;
  readonly #pods: Pod[] = [];
  /** Which pod is the room's, for the gateway. */
  #origin = 0;
  #version = 1;
  readonly #watches = new Set<ServerResponse>();
  gateway!: Program;
  /** The gateway's public address. */
  url = '';

  private constructor(readonly room: Room) {}

  static async start(room: Room, pods = 1): Promise<Cluster> {
    const cluster = new Cluster(room);
    cluster.#writeFiles();
    cluster.#apiPort = await freePort(IP);
    for (let index = 0; index < pods; index += 1) await cluster.#startPod(index);
    await cluster.assign(0);
    await cluster.startApi();
    await cluster.#startGateway();
    return cluster;
  }

  async stop(): Promise<void> {
    await this.gateway.stop();
    for (const { program } of this.#pods) await program.stop();
    this.stopApi();
    rmSync(this.#directory, { recursive: true });
  }

  /** A room token of an hour. */
  token(role: 'host' | 'viewer'): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      ...{ iss: 'showrunner', aud: 'showrunner-rooms', sub: 'somebody', role },
      ...{ room: `${this.room.namespace}/${this.room.name}`, roomUid: UID },
      ...{ iat: now, nbf: now, exp: now + 3600 },
    };
    return jwt({ alg: 'EdDSA', typ: 'JWT' }, claims, (message) => sign(null, message, this.#key.privateKey));
  }

  async startApi(): Promise<void> {
    const api = createServer((incoming, answer) => {
      const url = new URL(incoming.url ?? '/', 'http://api');
      answer.setHeader('Content-Type', 'application/json');
      if (url.searchParams.has('watch')) {
        answer.flushHeaders();
        // Pods don't change here.
        if (!url.pathname.endsWith('/pods')) this.#watches.add(answer);
        return;
      }
      const items = url.pathname.endsWith('/pods') ? this.#pods.map((pod) => this.#pod(pod)) : [this.#liveRoom()];
      const metadata = { resourceVersion: String(this.#version) };
      answer.end(JSON.stringify({ kind: 'List', apiVersion: 'v1', metadata, items }));
    });
    await once(api.listen(this.#apiPort, IP), 'listening');
    this.#api = api;
  }

  /** Cuts off those who watch, too. */
  stopApi(): void {
    this.#api?.close();
    this.#api?.closeAllConnections();
    this.#watches.clear();
  }

  /** The gateway sends whoever comes to this pod from now on. */
  route(index: number): void {
    this.#origin = index;
    this.#version += 1;
    const event = { type: 'MODIFIED', object: this.#liveRoom() };
    for (const watch of this.#watches) watch.write(`${JSON.stringify(event)}\n`);
  }

  /** Tells a pod of the room, as the operator does. */
  async assign(index: number, part: Part = {}): Promise<void> {
    const body = { uid: UID, generation: 1, role: { kind: 'origin' }, ...part };
    const status = await this.#command(index, 'PUT', `/v1/rooms/${this.room.namespace}/${this.room.name}`, body);
    if (status !== 201 && status !== 200) throw new Error(`the pod does not take the room: ${status}`);
  }

  /** Hands the room over from one pod to another, as the operator does. */
  async handOver(from: number, to: number, revision: number): Promise<void> {
    await this.assign(to, { revision, awaitsHost: true });
    this.route(to);
    await this.assign(from, { revision, leave: 60 });
  }

  /** Sessions on a pod. */
  async sessions(index: number): Promise<number> {
    const { sessions } = JSON.parse(await this.#ask(index, 'GET', '/v1/status')) as { sessions: number };
    return sessions;
  }

  pod(index: number): Program {
    const pod = this.#pods[index];
    if (!pod) throw new Error(`there is no pod ${index}`);
    return pod.program;
  }

  #path(file: string): string {
    return join(this.#directory, file);
  }

  #writeFiles(): void {
    writeFileSync(this.#path('control-keys'), `${SECRET}\n`);
    const jwk = this.#key.publicKey.export({ format: 'jwk' });
    writeFileSync(this.#path('jwks.json'), JSON.stringify({ keys: [{ ...jwk, alg: 'EdDSA', use: 'sig' }] }));
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: this.#directory, stdio: 'pipe' });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '1', '-subj', '/CN=pods');
    openssl('req', ...key, '-keyout', 'tls.key', '-out', 'tls.csr', '-subj', '/CN=pod');
    writeFileSync(this.#path('names'), `subjectAltName=DNS:${POD_NAME}\n`);
    const signed = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '1', '-extfile', 'names'];
    openssl('x509', '-req', '-in', 'tls.csr', '-out', 'tls.crt', ...signed);
  }

  async #startPod(index: number): Promise<void> {
    const pod = new Pod(index, await freePort(IP));
    this.#pods.push(pod);
    pod.program = new Program(
      [
        binary('media-node'),
        ...['--http', `${IP}:${pod.port}`, '--media-bind', IP, '--public-ip', IP],
        ...['--media-port', String(await freePort(IP)), '--shards', '1'],
        ...['--control-key-file', this.#path('control-keys')],
        ...['--tls-cert-file', this.#path('tls.crt'), '--tls-key-file', this.#path('tls.key')],
      ],
      async () => (await this.#command(index, 'GET', '/v1/status')) === 200,
    );
    await pod.program.start();
  }

  async #startGateway(): Promise<void> {
    writeFileSync(
      this.#path('kubeconfig'),
      JSON.stringify({
        ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
        contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
        clusters: [{ name: 'test', cluster: { server: `http://${IP}:${this.#apiPort}` } }],
        users: [{ name: 'test', user: {} }],
      }),
    );
    const [http, admin] = [await freePort(IP), await freePort(IP)];
    this.url = `http://${IP}:${http}`;
    this.gateway = new Program(
      [
        ...['env', `KUBECONFIG=${this.#path('kubeconfig')}`, binary('gateway')],
        ...['--http', `${IP}:${http}`, '--admin', `${IP}:${admin}`, '--drain-seconds', '0'],
        ...['--control-key-file', this.#path('control-keys'), '--pods-ca', this.#path('ca.crt')],
        ...['--token-keys-file', this.#path('jwks.json'), '--web-dir', `${ROOT}media-node/web/dist`],
      ],
      () => saysReady(this.url),
    );
    await this.gateway.start();
  }

  async #command(index: number, method: string, path: string, body?: object): Promise<number> {
    const answer = await this.#call(index, method, path, body);
    answer.resume();
    return answer.statusCode ?? 0;
  }

  async #ask(index: number, method: string, path: string): Promise<string> {
    let text = '';
    for await (const part of await this.#call(index, method, path)) text += String(part);
    return text;
  }

  /** One request of the operator. */
  async #call(index: number, method: string, path: string, body?: object): Promise<IncomingMessage> {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      ...{ iss: 'operator', aud: 'showrunner-pod-control', jti: randomUUID() },
      ...{ iat: now, nbf: now, exp: now + 60 },
    };
    const credential = jwt({ alg: 'HS256', typ: 'JWT' }, claims, (message) =>
      createHmac('sha256', SECRET).update(message).digest(),
    );
    const call = request({
      ...{ host: IP, port: this.#pods[index]?.port, servername: POD_NAME, rejectUnauthorized: false, method, path },
      headers: { Authorization: `Bearer ${credential}`, 'Content-Type': 'application/json' },
    });
    call.end(body && JSON.stringify(body));
    const [answer] = (await once(call, 'response')) as [IncomingMessage];
    return answer;
  }

  #liveRoom(): unknown {
    const { namespace, name, watch } = this.room;
    return {
      ...{ apiVersion: 'showrunner.dev/v1alpha1', kind: 'LiveRoom' },
      metadata: { namespace, name, uid: UID, resourceVersion: String(this.#version) },
      spec: { access: { publish: 'Token', watch } },
      status: { origin: { namespace: 'media', mediaNode: 'site', pod: `site-${this.#origin}`, region: 'here' } },
    };
  }

  #pod({ name, port }: Pod): unknown {
    const ports = [{ name: 'https', containerPort: port }];
    return {
      ...{ apiVersion: 'v1', kind: 'Pod' },
      metadata: { namespace: 'media', name, uid: `uid-of-${name}`, resourceVersion: '1' },
      spec: { containers: [{ name: 'media-node', ports }] },
      status: { podIP: IP, conditions: [{ type: 'Ready', status: 'True' }] },
    };
  }
}

function jwt(header: object, claims: object, signer: (message: Buffer) => Buffer): string {
  const parts = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  const message = parts.join('.');
  return `${message}.${signer(Buffer.from(message)).toString('base64url')}`;
}
