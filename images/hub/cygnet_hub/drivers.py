"""What Spark and SparkConnector are told in a session that has a cluster, as plain data.

This is where kinds of clusters differ for a driver: by its master, by how driver and executors know each other, and by
who starts these. All else is the same for all. A driver is in the session, so users may tell it anything else; what
limits them is with each kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cygnet_hub.clusters import Cluster, KubernetesCluster, Owner, StandaloneCluster, YarnCluster

TOLD = "/etc/cygnet/spark"
"""Where a session has what is written here, and executors have the secret."""
DRIVER_PORT, BLOCKS_PORT, EXECUTOR_PORT = 40000, 40100, 40200
"""TCP, of a driver, of what it hands out, and of what an executor does."""
PORTS = 16
"""How many drivers a session may have, each with the next ports."""
DRIVER_PORTS = ((DRIVER_PORT, PORTS), (BLOCKS_PORT, PORTS))
"""Where executors reach their driver: each the first of so many."""
DRIVERS_OUTSIDE = 4
"""How many drivers a session may have whose executors are outside of the cluster: each takes two ports of all nodes."""
HEAP = 0.6
"""Which part of an executor's memory is Java's; the rest is for Python and what it loads."""
HISTORY = ".local/share/spark-history"
"""In the home: what drivers did."""


def files(cluster: Cluster, owner: Owner, secret: str = "", port: int = 0) -> dict[str, str]:
    """What a session has in the folder TOLD, by names of files, whatever its cluster is."""
    return {
        "spark-defaults.conf": "".join(
            f"{key} {value}\n" for key, value in defaults(cluster, owner, secret, port).items()
        ),
        "sparkconnector_bundles.json": json.dumps(bundles(cluster.bundles)),
    }


def defaults(cluster: Cluster, owner: Owner, secret: str = "", port: int = 0) -> dict[str, Any]:
    """Spark's settings, with which `SparkSession.builder.getOrCreate()` has executors; users may change them.

    What limits them is not here: what each kind has for that does not ask what a driver was told. What is known in the
    session only, setup.sh adds there; @CYGNET_SPARK@ is the folder of its Spark.

    Args:
        cluster: Which one.
        owner: Of whose session.
        secret: Of the cluster, where drivers are told it in their settings.
        port: The first of those by which this session's drivers are reached from outside, where they are.
    """
    return {
        "spark.executor.cores": cluster.cores,
        "spark.executor.memory": f"{heap_mib(cluster)}m",
        "spark.driver.port": DRIVER_PORT,
        "spark.driver.blockManager.port": BLOCKS_PORT,
        "spark.blockManager.port": EXECUTOR_PORT,
        "spark.port.maxRetries": PORTS - 1,
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.network.crypto.saslFallback": "false",
        "spark.io.encryption.enabled": "true",
        # Executors come when there is work, and go when there was none for a while.
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.timeout": "10min",
        "spark.dynamicAllocation.maxExecutors": cluster.max,
        "spark.dynamicAllocation.executorIdleTimeout": "60s",
        "spark.dynamicAllocation.cachedExecutorIdleTimeout": "30min",
        # SparkMonitor shows it in the cell, and not among what the cell prints.
        "spark.ui.showConsoleProgress": "false",
        # The page of a driver is to be looked at.
        "spark.ui.killEnabled": "false",
        **(history(owner.home, cluster.history_days) if cluster.history_days else {}),
        # A kind may have other ports than these.
        **(_kubernetes(cluster, owner) if isinstance(cluster, KubernetesCluster) else {}),
        **(_standalone(cluster, secret) if isinstance(cluster, StandaloneCluster) else {}),
        **(_yarn(cluster, port) if isinstance(cluster, YarnCluster) else {}),
    }


def _kubernetes(cluster: KubernetesCluster, owner: Owner) -> dict[str, Any]:
    """The driver makes pods; they have the secret as a file, as it has."""
    told = {
        "namespace": owner.place,
        "container.image": owner.image,
        "container.image.pullPolicy": "IfNotPresent",
        "executor.podTemplateFile": f"{TOLD}/executor.yaml",
        "executor.podTemplateContainerName": "executor",
        # All that an executor has to know is in its variables: a driver may make pods only.
        "executor.disableConfigMap": "true",
        # Kubernetes forgets an executor as soon as that is to end, and does not ask its machine before: one of a
        # machine that is lost would count among what its user may have until that is back.
        "executor.terminationGracePeriodSeconds": "0s",
        "executor.request.cores": f"{cluster.cores_guaranteed:g}",
        "executor.limit.cores": cluster.cores,
        "driver.service.deleteOnTermination": "false",
        "driver.ownPersistentVolumeClaim": "false",
        "driver.reusePersistentVolumeClaim": "false",
    }
    return {
        "spark.master": "k8s://https://kubernetes.default.svc",
        **{f"spark.kubernetes.{key}": value for key, value in told.items()},
        "spark.executor.memoryOverhead": f"{round(cluster.memory_gib * 1024) - heap_mib(cluster)}m",
        "spark.authenticate.secret.driver.file": f"{TOLD}/secret",
        "spark.authenticate.secret.executor.file": f"{TOLD}/secret",
        # An executor that the quota refuses counts as a failed one, and a driver that saw many would give up.
        "spark.executor.maxNumFailures": 100,
        "spark.executor.failuresValidityInterval": "30s",
    }


def _standalone(cluster: StandaloneCluster, secret: str) -> dict[str, Any]:
    """The driver asks a master; workers give executors the secret, which is that of all drivers there."""
    return {
        "spark.master": cluster.master,
        "spark.authenticate.secret": secret,
        "spark.cores.max": cluster.max * cluster.cores,
        # What workers run as Java: it takes the driver's software, or says why it cannot.
        "spark.executorEnv.JAVA_HOME": "@CYGNET_SPARK@/executors",
    }


def _yarn(cluster: YarnCluster, port: int) -> dict[str, Any]:
    """The driver asks YARN, which starts a process of Spark's for it (the "application master"), and that executors.

    Both are Spark of the repository, by the name of the very folder, so that nothing is uploaded but settings. The
    secret of an application is made by Spark, which hands it over to YARN with the user's other credentials.
    """
    folder = "@CYGNET_SPARK@"
    return {
        "spark.master": "yarn",
        "spark.yarn.queue": cluster.queue,
        "spark.yarn.jars": f"local:{folder}/python/pyspark/jars/*",
        # What YARN runs as Java: it takes the driver's software, or says why it cannot.
        "spark.executorEnv.JAVA_HOME": f"{folder}/executors",
        "spark.yarn.appMasterEnv.JAVA_HOME": f"{folder}/executors",
        "spark.executor.memoryOverhead": f"{round(cluster.memory_gib * 1024) - heap_mib(cluster)}m",
        # A driver is told the port that it has in its pod, and executors come to the node: both have one number.
        "spark.driver.port": port,
        "spark.driver.blockManager.port": port + DRIVERS_OUTSIDE,
        "spark.port.maxRetries": DRIVERS_OUTSIDE - 1,
        # Executors of all users share the addresses of their machines.
        "spark.blockManager.port": 0,
        # A ticket is renewed in the session; of it Spark gets what executors need for HDFS. Who signs in again after it
        # has ended, does not wait for an hour.
        "spark.kerberos.renewal.credentials": "ccache",
        "spark.security.credentials.retryWait": "30s",
        # The page of a driver is not YARN's to show: its owner comes from the session itself.
        "spark.hadoop.yarn.web-proxy.address": "127.0.0.1:0",
        **({"spark.yarn.historyServer.address": cluster.history_server} if cluster.history_server else {}),
        **(
            {"spark.eventLog.enabled": "true", "spark.eventLog.dir": cluster.history_folder}
            if cluster.history_folder
            else {}
        ),
    }


def heap_mib(cluster: Cluster) -> int:
    """Java's part of an executor's memory."""
    return round(cluster.memory_gib * 1024 * HEAP)


def history(home: str, days: int) -> dict[str, Any]:
    """Where drivers note what they do, and what the history server of that user reads. setup.sh makes the folder."""
    folder = f"file://{home}/{HISTORY}"
    return {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": folder,
        "spark.eventLog.rolling.enabled": "false",
        "spark.history.fs.logDirectory": folder,
        "spark.history.fs.cleaner.enabled": "true",
        "spark.history.fs.cleaner.maxAge": f"{days}d",
    }


def bundles(offered: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What SparkConnector's panel offers, in its words; given are settings of Spark, by title."""
    named = {
        title: [{"name": name, "value": value} for name, value in settings.items()]
        for title, settings in offered.items()
    }
    return {"bundled_options": {title: {"options": options} for title, options in named.items()}}
