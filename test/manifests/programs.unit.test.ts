import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { buildConfig } from '../../agent/config.ts';
import { netfilterConfig } from '../../agent/netfilter/config.ts';
import { brokerConfig } from '../../agent/tpm-broker/config.ts';
import { serverConfig } from '../../attest-server/config.ts';
import { enrolmentMethods } from '../../attest-server/formats/enrolment-method.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { parseConfigFile } from '../../attest-server/settings/config-file.ts';
import { at, type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { type Container, containersOf, podOf } from './pod-security.ts';
import { allManifests } from './renderings.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** How each container reads its environment. */
const programs: Readonly<Record<string, (environment: Environment, all: readonly JsonObject[]) => unknown>> =
  {
    agent: (environment) => buildConfig(null, environment),
    netfilter: (environment) => netfilterConfig(environment, {}),
    'tpm-broker': (environment) => brokerConfig(environment, {}),
    server: (environment, all) =>
      serverConfig(parseConfigFile(dataOf(all, 'server.yaml'), 'server.yaml'), environment),
  };

/** Of the command line, and of the program of a cloud. */
const ofOthers = /^(ASSAY_(SERVER|TOKEN_FILE|CA_FILE)|ASSAY_CLOUD_[A-Z_]+)$/;

for (const { name, objects } of allManifests)
  describe(`the programs of ${name}`, () => {
    it('can be started with the settings that they are given, each variable being one of theirs', async function () {
      const all = await objects(this);
      const tried: string[] = [];
      for (const { container, name: program } of all.flatMap((object) => containersOf(podOf(object) ?? {}))) {
        const configure = programs[program];
        if (configure === undefined) continue;
        const given = environmentOf(container);
        const asked = new Set<string>();
        const seen = new Proxy(given, {
          get(target, key) {
            if (typeof key === 'string') asked.add(key);
            return typeof key === 'string' ? target[key] : undefined;
          },
        });
        configure(seen, all);
        const unread = Object.keys(given).filter(
          (key) =>
            key.startsWith('ASSAY_') && !asked.has(key) && !(program === 'server' && ofOthers.test(key)),
        );
        assert.deepEqual(unread, [], program);
        tried.push(program);
      }
      assert.ok(tried.includes('server') && tried.includes('agent'), tried.join());
    });

    it('are given a policy that this server takes', async function () {
      const all = await objects(this);
      const { cloudProgram } = serverConfig(parseConfigFile(dataOf(all, 'server.yaml'), 'server.yaml'), {});
      // In a pod there is a cluster, whose agents' accounts a vendor's certificate is bound to.
      const methods = enrolmentMethods.filter((method) => method !== 'cloud' || cloudProgram !== null);
      assert.ok(parsePolicy(dataOf(all, 'policy.yaml'), 'policy.yaml', methods).groups.length > 0);
    });

    it('find what they are told of in a volume', async function () {
      for (const object of await objects(this))
        for (const one of containersOf(podOf(object) ?? {}))
          assert.deepEqual(pathsOutside(one), [], one.place);
    });
  });

function dataOf(all: readonly JsonObject[], key: string): string {
  const found = all.find(
    (one) => textAt(one, 'kind') === 'ConfigMap' && textAt(one, 'metadata', 'name') === 'assay-server',
  );
  return textAt(found, 'data', key) ?? assert.fail(`there is no ${key}`);
}

function environmentOf(container: JsonObject): Record<string, string> {
  const entries = listAt(container, 'env').map((one) => {
    // A name of a node stands for what the pod says of itself.
    const value = at(one, 'valueFrom') === undefined ? textAt(one, 'value') : 'node-1';
    return [textAt(one, 'name') ?? '', value ?? ''] as const;
  });
  return Object.fromEntries(entries);
}

/** Paths in its environment and command line that are in none of its volumes. */
function pathsOutside({ container }: Container): readonly string[] {
  const mounts = listAt(container, 'volumeMounts').map((mount) => textAt(mount, 'mountPath') ?? '');
  const told = [
    ...Object.values(environmentOf(container)),
    ...[...listAt(container, 'command'), ...listAt(container, 'args')].map(String),
  ];
  return told
    .map((text) => text.replace(/^device:/, ''))
    .filter((text) => text.startsWith('/'))
    .filter(
      (path) =>
        !mounts.some(
          (mount) => mount === path || mount.startsWith(`${path}/`) || path.startsWith(`${mount}/`),
        ),
    );
}
