import { after, before, describe } from 'mocha';
import { describeAttestations } from './attestations.ts';
import { describeDryRun } from './dry-run.ts';
import { describeLatch } from './latch.ts';
import { describeMarks } from './marks.ts';
import { describeRights } from './rights.ts';
import { World } from './world.ts';

/** What manifests/ promises, tried at an API server. @param kubeconfig null: there is none, and all is skipped */
export function describeManifests(where: string, kubeconfig: (() => Promise<string>) | null): void {
  describe(`the manifests in ${where}`, function () {
    this.timeout(120_000);
    let world: World;
    const worldOf = () => world;
    before(async function () {
      if (kubeconfig === null) this.skip();
      world = await World.open(await kubeconfig());
    });
    after(() => world?.[Symbol.asyncDispose]());
    describeRights(worldOf);
    describeDryRun(worldOf);
    describeMarks(worldOf);
    describeAttestations(worldOf);
    // The last one, since it changes a definition.
    describeLatch(worldOf);
  });
}
