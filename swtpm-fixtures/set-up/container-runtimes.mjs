import { unpackPrograms } from './unpacked.mjs';

/** Unpacks containerd and docker: tests load the archives of the images into them, without a network. */
export function unpackContainerRuntimes(root) {
  return unpackPrograms(root, {
    name: 'container-runtimes',
    why: 'tests load images into them',
    programs: {
      containerd: ['usr/bin/containerd', 'usr/bin/ctr'],
      'docker.io': ['usr/sbin/dockerd'],
      'docker-cli': ['usr/bin/docker'],
    },
  });
}
