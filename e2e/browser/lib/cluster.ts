/**
 * A cluster in small: a media node as its pods are, the gateway before it, and as much of an API server as the gateway
 * watches. The test is the operator: it tells the node of the room and the API server of both.
 */

import { execFileSync } from 'node:child_process';
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
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

export class Cluster {
  readonly #directory = mkdtempSync(join(tmpdir(), 'showrunner-'));
  readonly #key = generateKeyPairSync('ed25519');
  #api: Server | undefined;
  #apiPort = 0;
  #node!: Program;
  #nodePort = 0;
  gateway!: Program;
  /** The gateway's public address. */
  url = '';

  private constructor(readonly room: Room) {}

  static async start(room: Room): Promise<Cluster> {
    const cluster = new Cluster(room);
    cluster.#writeFiles();
    cluster.#apiPort = await freePort(IP);
    await cluster.#startNode();
    await cluster.startApi();
    await cluster.#startGateway();
    return cluster;
  }

  async stop(): Promise<void> {
    await this.gateway.stop();
    await this.#node.stop();
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
        // Nothing changes here, so watches stay silent.
        answer.flushHeaders();
        return;
      }
      const items = url.pathname.endsWith('/pods') ? [this.#pod()] : [this.#liveRoom()];
      answer.end(JSON.stringify({ kind: 'List', apiVersion: 'v1', metadata: { resourceVersion: '1' }, items }));
    });
    await once(api.listen(this.#apiPort, IP), 'listening');
    this.#api = api;
  }

  /** Cuts off those who watch, too. */
  stopApi(): void {
    this.#api?.close();
    this.#api?.closeAllConnections();
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

  async #startNode(): Promise<void> {
    this.#nodePort = await freePort(IP);
    this.#node = new Program(
      [
        binary('media-node'),
        ...['--http', `${IP}:${this.#nodePort}`, '--media-bind', IP, '--public-ip', IP],
        ...['--media-port', String(await freePort(IP)), '--shards', '1'],
        ...['--control-key-file', this.#path('control-keys')],
        ...['--tls-cert-file', this.#path('tls.crt'), '--tls-key-file', this.#path('tls.key')],
      ],
      () => this.#assign(),
    );
    await this.#node.start();
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

  /** Tells the node of the room, as the operator does. */
  async #assign(): Promise<boolean> {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      ...{ iss: 'operator', aud: 'showrunner-pod-control', jti: randomUUID() },
      ...{ iat: now, nbf: now, exp: now + 60 },
    };
    const credential = jwt({ alg: 'HS256', typ: 'JWT' }, claims, (message) =>
      createHmac('sha256', SECRET).update(message).digest(),
    );
    const put = request({
      ...{ host: IP, port: this.#nodePort, servername: POD_NAME, rejectUnauthorized: false, method: 'PUT' },
      path: `/v1/rooms/${this.room.namespace}/${this.room.name}`,
      headers: { Authorization: `Bearer ${credential}`, 'Content-Type': 'application/json' },
    });
    put.end(JSON.stringify({ uid: UID, generation: 1, role: { kind: 'origin' } }));
    const [answer] = (await once(put, 'response')) as [{ statusCode?: number; resume(): void }];
    answer.resume();
    return answer.statusCode === 201 || answer.statusCode === 200;
  }

  #liveRoom(): unknown {
    const { namespace, name, watch } = this.room;
    return {
      ...{ apiVersion: 'showrunner.dev/v1alpha1', kind: 'LiveRoom' },
      metadata: { namespace, name, uid: UID, resourceVersion: '1' },
      spec: { access: { publish: 'Token', watch } },
      status: { origin: { namespace: 'media', mediaNode: 'site', pod: 'site-0', region: 'here' } },
    };
  }

  #pod(): unknown {
    const ports = [{ name: 'https', containerPort: this.#nodePort }];
    return {
      ...{ apiVersion: 'v1', kind: 'Pod' },
      metadata: { namespace: 'media', name: 'site-0', uid: 'p-1', resourceVersion: '1' },
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
