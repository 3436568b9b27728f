/*
 * Test data in the place of the library of NVIDIA's driver (libnvidia-ml.so.1): one GPU, which does not exist.
 *
 * It has what NVIDIA's device plugin asks of a driver, and nothing else: whatever is asked besides ends the asker with
 * the name of the function. Names, types and numbers are those of NVML's own interface.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10 };
enum { XID = 8 }; /* an event: something serious */

static const char UNWELL[] = "/run/gpu-is-unwell"; /* while this file is there, the GPU has fallen off the bus */
static const char UUID[] = "GPU-6b1f7d2e-0000-4000-8000-000000000001";
static int gpu, events;

typedef struct {
    char legacy_bus_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
} Pci;

typedef struct {
    unsigned long long total, free, used;
} Memory;

typedef struct {
    void *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
} Event;

static int say(const char *text, char *into, unsigned size) { return snprintf(into, size, "%s", text) < 0; }

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned flags) { return (void)flags, SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return (void)code, "told by test data"; }
int nvmlSystemGetDriverVersion(char *into, unsigned size) { return say(VERSION, into, size); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 12040, SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) { return *count = 1, SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    return *device = &gpu, index ? NOT_FOUND : SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    return *device = &gpu, strcmp(uuid, UUID) ? NOT_FOUND : SUCCESS;
}
int nvmlDeviceGetIndex(void *device, unsigned *index) { return (void)device, *index = 0, SUCCESS; }
int nvmlDeviceGetName(void *device, char *into, unsigned size) { return (void)device, say("Test data", into, size); }
int nvmlDeviceGetUUID(void *device, char *into, unsigned size) { return (void)device, say(UUID, into, size); }
int nvmlDeviceGetMinorNumber(void *device, unsigned *minor) { return (void)device, *minor = 0, SUCCESS; }
int nvmlDeviceGetBrand(void *device, unsigned *brand) { return (void)device, *brand = 2, SUCCESS; }
int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *next) {
    return (void)device, (void)now, (void)next, NOT_SUPPORTED;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) { return (void)device, *count = 0, SUCCESS; }
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    return (void)device, *memory = (Memory){1ULL << 34, 1ULL << 34, 0}, SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    return (void)device, *major = 7, *minor = 5, SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(void *device, Pci *pci) {
    *pci = (Pci){.bus = 0xff, .device_id = 0x1eb810de};
    return (void)device, say("00000000:FF:00.0", pci->bus_id, sizeof pci->bus_id);
}

int nvmlEventSetCreate(void **set) { return *set = &events, SUCCESS; }
int nvmlEventSetFree(void *set) { return (void)set, SUCCESS; }
int nvmlDeviceGetSupportedEventTypes(void *device, unsigned long long *types) {
    return (void)device, *types = XID, SUCCESS;
}
int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set) {
    return (void)device, (void)types, (void)set, SUCCESS;
}
int nvmlEventSetWait_v2(void *set, Event *event, unsigned milliseconds) {
    (void)set;
    for (unsigned tenth = 0; tenth < milliseconds / 100; tenth++) {
        usleep(100 * 1000);
        if (access(UNWELL, F_OK) == 0) {
            *event = (Event){.device = &gpu, .type = XID, .data = 79};
            return SUCCESS;
        }
    }
    return TIMEOUT;
}
