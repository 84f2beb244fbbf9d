import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.server.datanode.DataNode;
import org.apache.hadoop.hdfs.server.namenode.NameNode;
import org.apache.hadoop.metrics2.lib.DefaultMetricsSystem;
import org.apache.hadoop.net.NetUtils;
import org.apache.hadoop.util.ToolRunner;

import java.io.File;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Paths;

/**
 * A NameNode and a DataNode, the real ones, in one Java process: half the start time and half the memory of two.
 *
 * <pre>
 * java HdfsTestServer serve HDFS-SITE.XML NAME-DIRECTORY
 * java HdfsTestServer train DIRECTORY
 * </pre>
 *
 * "serve" formats the name directory if it is empty, and runs until it is killed; whether both nodes are ready is for the
 * caller to ask over HTTP. "train" starts both in DIRECTORY, on any ports, uses them once and ends: Java can then store
 * the classes that were loaded, which halves the time of later starts.
 */
public final class HdfsTestServer {
  private static final String ANY_PORT = "127.0.0.1:0";

  private HdfsTestServer() {
  }

  public static void main(String[] args) {
    // Otherwise the names of the metrics that formatting leaves behind clash with the NameNode's.
    DefaultMetricsSystem.setMiniClusterMode(true);
    try {
      if (args.length == 3 && args[0].equals("serve")) {
        serve(args[1], args[2]);
      } else if (args.length == 2 && args[0].equals("train")) {
        train(args[1]);
      } else {
        throw new IllegalArgumentException("usage: HdfsTestServer serve HDFS-SITE.XML NAME-DIRECTORY | train DIRECTORY");
      }
      System.exit(0);
    } catch (Exception | Error e) {
      // Threads that were started already would keep the process.
      e.printStackTrace();
      System.exit(1);
    }
  }

  private static void serve(String site, String nameDirectory) throws Exception {
    Configuration configuration = new HdfsConfiguration();
    configuration.addResource(new Path(new File(site).toURI()));
    if (!Files.exists(Paths.get(nameDirectory, "current"))) {
      NameNode.format(configuration);
    }
    NameNode nameNode = NameNode.createNameNode(new String[0], configuration);
    DataNode.createDataNode(new String[0], configuration);
    nameNode.join();
  }

  private static void train(String directory) throws Exception {
    Configuration configuration = new HdfsConfiguration();
    configuration.set("fs.defaultFS", "hdfs://" + ANY_PORT);
    configuration.set("hadoop.tmp.dir", directory);
    configuration.set("dfs.datanode.hostname", "127.0.0.1");
    for (String name : new String[] {"namenode.http-", "datanode.", "datanode.http.", "datanode.ipc."}) {
      configuration.set("dfs." + name + "address", ANY_PORT);
    }
    NameNode.format(configuration);
    NameNode nameNode = NameNode.createNameNode(new String[0], configuration);
    configuration.set("fs.defaultFS", "hdfs://" + NetUtils.getHostPortString(nameNode.getNameNodeAddress()));
    DataNode dataNode = DataNode.createDataNode(new String[0], configuration);
    while (!dataNode.isDatanodeFullyStarted()) {
      Thread.sleep(10);
    }
    URI web = URI.create("webhdfs://" + NetUtils.getHostPortString(nameNode.getHttpAddress()));
    try (FileSystem fileSystem = FileSystem.get(web, configuration)) {
      try (FSDataOutputStream output = fileSystem.create(new Path("/file"))) {
        output.writeBytes("data");
      }
      fileSystem.open(new Path("/file")).close();
    }
    for (String command : new String[] {"-ls /", "-cat /file"}) {
      ToolRunner.run(configuration, new FsShell(), command.split(" "));
    }
  }
}
