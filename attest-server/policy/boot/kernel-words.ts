/** A kernel that is locked down loads no other kernel, and resumes no image. */
export const lockdown: readonly string[] = ['lockdown=integrity', 'lockdown=confidentiality'];

/**
 * Words of which one keeps the kernel from ever resuming an image from a disk. `noresume` is none: it counts for the
 * moment of the boot alone, and who writes /sys/power/resume later has the image started all the same.
 */
export const neverResumes: readonly string[] = ['nohibernate', 'hibernate=no', ...lockdown];
