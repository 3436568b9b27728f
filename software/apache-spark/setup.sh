# To be sourced after a view's setup.sh, by sh or bash: adds Spark and its Java, which are in the folder CYGNET_SPARK.
# Doing it twice is harmless.
# Where the session has a cluster (CYGNET_CLUSTER is the folder of what the hub said of it), Spark is told of it.
# shellcheck shell=sh

# Where CYGNET_SPARK leads, and not the link itself: executors have the very same folder.
CYGNET_SPARK=$(cd "$CYGNET_SPARK" && pwd -P)
export CYGNET_SPARK
export SPARK_HOME="$CYGNET_SPARK/python/pyspark" JAVA_HOME="$CYGNET_SPARK/java" PYSPARK_PYTHON=python3
case ":${PYTHONPATH:-}:" in
    *":$CYGNET_SPARK/python:"*) ;;
    *) export PYTHONPATH="$CYGNET_SPARK/python${PYTHONPATH:+:$PYTHONPATH}" ;;
esac
case ":$PATH:" in
    *":$CYGNET_SPARK/bin:"*) ;;
    *) export PATH="$PATH:$CYGNET_SPARK/bin" ;;
esac
if [ -n "${CYGNET_CLUSTER:-}" ]; then
    # Pages of JupyterLab; the kernel's half of them is in the folder of Python packages.
    case ":${JUPYTER_PATH:-}:" in
        *":$CYGNET_SPARK/share/jupyter:"*) ;;
        *) export JUPYTER_PATH="${JUPYTER_PATH:+$JUPYTER_PATH:}$CYGNET_SPARK/share/jupyter" ;;
    esac
    # What only the session knows: its address, and which software is behind the links by which it was chosen.
    export SPARK_CONF_DIR=/tmp/spark-conf
    mkdir -p "$SPARK_CONF_DIR" && {
        sed "s|@CYGNET_SPARK@|$CYGNET_SPARK|" "$CYGNET_CLUSTER/spark-defaults.conf"
        echo "spark.driver.host ${CYGNET_NODE:-$(hostname -i)}"
        echo "spark.executorEnv.CYGNET_VIEW $CYGNET_VIEW"
        echo "spark.executorEnv.CYGNET_SPARK $CYGNET_SPARK"
        if [ -n "${CYGNET_NODE:-}" ]; then
            # Executors come to the session's machine, and the driver is in its pod.
            echo "spark.driver.bindAddress $(hostname -i)"
            echo "spark.yarn.appMasterEnv.CYGNET_VIEW $CYGNET_VIEW"
            echo "spark.yarn.appMasterEnv.CYGNET_SPARK $CYGNET_SPARK"
            # Java has a Kerberos of its own, which looks for the realm where it is told.
            [ -z "${KRB5_CONFIG:-}" ] || echo "spark.driver.defaultJavaOptions -Djava.security.krb5.conf=$KRB5_CONFIG"
        fi
    } > "$SPARK_CONF_DIR/spark-defaults.conf.new" &&
        mv "$SPARK_CONF_DIR/spark-defaults.conf.new" "$SPARK_CONF_DIR/spark-defaults.conf"
    cp "$CYGNET_SPARK/spark-env.sh" "$SPARK_CONF_DIR/"
    # What YARN and HDFS are to clients, in a folder of its own: Spark hands all of that over to executors.
    if [ -r "$CYGNET_CLUSTER/core-site.xml" ]; then
        export HADOOP_CONF_DIR="$SPARK_CONF_DIR/hadoop" PYSPARK_ARCHIVES_PATH="local:$CYGNET_SPARK/python"
        mkdir -p "$HADOOP_CONF_DIR"
        cp "$CYGNET_CLUSTER"/*-site.xml "$HADOOP_CONF_DIR/"
    fi
    # Where drivers note what they do. Without it none would start, and so it is not asked for where it cannot be made.
    cygnet_history=$(sed -n 's|^spark\.eventLog\.dir file://||p' "$SPARK_CONF_DIR/spark-defaults.conf")
    if [ -n "$cygnet_history" ] && ! { mkdir -p "$cygnet_history" && : > "$cygnet_history/.written"; } 2> /dev/null; then
        echo "Spark keeps no history: is the home full?" >&2
        sed -i '/^spark\.eventLog\.enabled /d' "$SPARK_CONF_DIR/spark-defaults.conf"
    fi
    unset cygnet_history
    # What SparkConnector's panel offers: it asks the notebook server, which looks into such folders.
    if [ -r "$CYGNET_CLUSTER/sparkconnector_bundles.json" ]; then
        mkdir -p "$SPARK_CONF_DIR/jupyter/serverconfig"
        cp "$CYGNET_CLUSTER/sparkconnector_bundles.json" "$SPARK_CONF_DIR/jupyter/serverconfig/"
    fi
    case ":${JUPYTER_CONFIG_PATH:-}:" in
        *":$SPARK_CONF_DIR/jupyter:"*) ;;
        *) export JUPYTER_CONFIG_PATH="${JUPYTER_CONFIG_PATH:+$JUPYTER_CONFIG_PATH:}$SPARK_CONF_DIR/jupyter" ;;
    esac
fi
